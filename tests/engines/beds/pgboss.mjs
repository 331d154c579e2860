// pg-boss: node pgboss.mjs api|worker URL SCHEMA [CONCURRENCY]

import { randomUUID } from 'node:crypto'
import { job, require, serve } from './bed.mjs'

const pgboss = require('pg-boss')
const PgBoss = pgboss.PgBoss ?? pgboss
const [mode, url, schema, concurrency = 1] = process.argv.slice(2)
// Before version 12 the class is the module; in version 10 `insert` takes the queue with each job.
const isTen = !pgboss.PgBoss && require('pg-boss/package.json').version.startsWith('10.')

async function opened (options) {
  const boss = new PgBoss({ connectionString: url, schema, schedule: false, ...options })
  boss.on('error', error => { if (mode === 'worker') console.error(error) })
  await boss.start()
  return boss
}

if (mode === 'api') {
  let boss
  const open = async () => { boss ??= await opened({ supervise: false, max: 2 }); return boss }
  await serve({
    async install () {
      const boss = await open()
      await boss.createQueue('sync')
      await boss.createQueue('mail', { partition: true })
    },
    async createQueue ({ name, ...options }) {
      await (await open()).createQueue(name, options)
    },
    // { name, data, priority, startAfter (s), singletonKey, retries }: the ids; retries come an hour later
    async enqueue ({ name, jobs }) {
      const boss = await open()
      const rows = jobs.map(({ retries = 0, startAfter, ...given }) => ({
        id: randomUUID(),
        retryLimit: retries,
        retryDelay: 3600,
        startAfter: startAfter === undefined ? undefined : new Date(Date.now() + startAfter * 1000).toISOString(),
        ...given
      }))
      await (isTen ? boss.insert(rows.map(row => ({ name, ...row }))) : boss.insert(name, rows))
      return rows.map(row => row.id)
    },
    async send ({ name, data, options }) {
      return (await open()).send(name, data, options)
    },
    async state ({ name, id }) {
      return (await (await open()).getJobById(name, id))?.state
    },
    async cancel ({ name, id }) {
      await (await open()).cancel(name, id)
    }
  })
} else {
  const boss = await opened({})
  const run = job(url)
  for (const name of ['sync', 'mail']) {
    for (let n = 0; n < Number(concurrency); n++) {
      // It looks for the next job at once after each, not at its next poll.
      const id = await boss.work(name, { pollingIntervalSeconds: 0.5 }, ([{ data }]) =>
        run(data).finally(() => boss.notifyWorker(id)))
    }
  }
  process.on('SIGTERM', async () => {
    await boss.stop({ graceful: false, close: true }).catch(() => {})
    process.exit(0)
  })
}
