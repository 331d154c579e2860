// What the beds on node have in common: the package of the engine, calls by lines of JSON, and what a job does.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

export const require = createRequire(process.env.BED_MODULES + '/')

/** Answers each line {what, ...given} of the standard input with {value} or {error}, one after the other, until it ends. */
export async function serve (functions) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { what, ...given } = JSON.parse(line)
    let answer
    try {
      answer = { value: (await functions[what](given)) ?? null }
    } catch (error) {
      answer = { error: String(error?.stack ?? error) }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

/** A job: says in bed_ran that it starts, takes its time, is held if it is to be, fails if it is to, says that it ends. */
export function job (url) {
  const { Pool } = require('pg')
  const pool = new Pool({ connectionString: url, max: 2 })
  pool.on('error', () => {})
  const note = (number, what) => pool.query('insert into public.bed_ran (number, what) values ($1, $2)', [number, what])
  const isHeld = async number =>
    (await pool.query('select exists (select from public.bed_held where number = $1) as held', [number])).rows[0].held
  return async function run ({ number, seconds = 0, held = false, fails = false }) {
    await note(number, 'start')
    await new Promise(resolve => setTimeout(resolve, seconds * 1000))
    while (held && await isHeld(number)) await new Promise(resolve => setTimeout(resolve, 50))
    if (fails) throw new Error(`number ${number} fails`)
    await note(number, 'end')
  }
}
