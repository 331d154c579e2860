// Graphile Worker: node graphile_worker.mjs api|worker URL SCHEMA [CONCURRENCY]

import { job, require, serve } from './bed.mjs'

const { Logger, makeWorkerUtils, run } = require('graphile-worker')
const [mode, connectionString, schema, concurrency = 1] = process.argv.slice(2)
const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message) })
const options = { connectionString, schema, logger }

if (mode === 'api') {
  let utils
  const open = async () => { utils ??= await makeWorkerUtils({ ...options, maxPoolSize: 2 }); return utils }
  await serve({
    async install () {
      await (await open()).migrate()
    },
    // { payload, queueName, priority, runAt (s from now), jobKey, maxAttempts }: the ids. One by one: addJobs answers in any order.
    async enqueue ({ identifier, jobs }) {
      const ids = []
      for (const { payload, runAt, ...spec } of jobs) {
        const later = runAt === undefined ? undefined : new Date(Date.now() + runAt * 1000)
        ids.push((await (await open()).addJob(identifier, payload, { runAt: later, ...spec })).id)
      }
      return ids
    },
    // It has no call for this but its view.
    async state ({ id }) {
      const { rows: [found] } = await (await open()).withPgClient(client => client.query(
        `select locked_at, attempts, max_attempts from "${schema.replaceAll('"', '""')}".jobs where id = $1`, [id]))
      if (!found) return null
      if (found.locked_at) return 'locked'
      if (found.attempts >= found.max_attempts) return 'failed'
      return 'available'
    },
    async cancel ({ id, reason }) {
      await (await open()).permanentlyFailJobs([id], reason)
    }
  })
} else {
  const perform = job(connectionString)
  await run({
    ...options,
    concurrency: Number(concurrency),
    pollInterval: 500,
    noHandleSignals: true,
    taskList: { sync: payload => perform(payload), mail: payload => perform(payload) }
  }).then(runner => {
    process.on('SIGTERM', async () => {
      const patience = new Promise(resolve => setTimeout(resolve, 1000)) // a job may take longer than any test
      await Promise.race([runner.stop().catch(() => {}), patience])
      process.exit(0)
    })
    return runner.promise
  })
}
