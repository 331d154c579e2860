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
    // { payload, queueName, priority, runAt (s from now), jobKey, maxAttempts }: the ids
    async enqueue ({ identifier, jobs }) {
      const added = await (await open()).addJobs(jobs.map(({ runAt, ...spec }) => ({
        identifier,
        runAt: runAt === undefined ? undefined : new Date(Date.now() + runAt * 1000),
        ...spec
      })))
      return added.map(({ id }) => id)
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
    taskList: { sync: payload => perform(payload), mail: payload => perform(payload) }
  }).then(runner => runner.promise)
}
