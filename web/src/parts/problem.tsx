// What the server refused, in its own words: the title, the detail, and each field with its remedy.
import type { JSX } from 'preact'
import { ProblemError } from '../api'
import type { Problem } from '../wire'

export const sentence = (s: string): string => (s ? `${s.charAt(0).toUpperCase()}${s.slice(1)}${/[.!?]$/.test(s) ? '' : '.'}` : '')

/** `inline`: one line, with the first remedy. */
export function ProblemText({ problem: p, inline = false }: { problem: Problem; inline?: boolean }): JSX.Element {
  if (inline) return <span class="problem" role="alert"><strong>{sentence(p.title)}</strong> {sentence(p.detail ?? '')} {sentence(p.errors?.[0]?.remedy ?? '')}</span>
  return (
    <div class="problem" role="alert">
      <strong>{sentence(p.title)}</strong> {sentence(p.detail ?? '')}
      {p.errors?.map((e, i) => <div key={i}><span class="mono">{e.field ?? e.pointer ?? e.room}</span>: {e.detail}{e.remedy ? `; ${e.remedy}` : ''}</div>)}
    </div>
  )
}

/** In place of a page that has nothing to show. */
export function PollProblem({ what, problem }: { what: string; problem: Error }): JSX.Element {
  const refused = problem instanceof ProblemError && problem.status > 0
  return (
    <div class="blank err" role="alert">
      <h3>{refused ? sentence(problem.problem.title).replace(/\.$/, '') : what}</h3>
      <p>{sentence(problem.message)}</p>
    </div>
  )
}
