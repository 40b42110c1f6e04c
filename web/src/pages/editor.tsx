// Writing and removing one key under a condition. Invariant: what is not yet stored never looks
// stored, and a newer version is never overwritten unseen: a 412 shows both, the stored one first.
import type { JSX } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { ProblemError, putIf, removeIf } from '../api'
import { int } from '../fmt'
import { Dialog } from '../parts/dialog'
import { ProblemText } from '../parts/problem'
import type { Entity, Json, Problem } from '../wire'

export function checkJson(text: string): string {
  try {
    JSON.parse(text)
    return ''
  } catch (e) {
    return `Not JSON: ${(e as Error).message}. A text needs its quotes.`
  }
}

/** `entity` null: a key that is not there yet, whose name is asked for where `name` is empty. */
export function Editor({ stream, name, entity, onClose, onStored }: { stream: string; name: string; entity: Entity | null; onClose: () => void; onStored: (e: Entity) => void }): JSX.Element {
  const [text, setText] = useState(entity ? JSON.stringify(entity.value, null, 2) : '')
  const [key, setKey] = useState(name)
  const [base, setBase] = useState(entity)
  const [problem, setProblem] = useState<Problem | null>(null)
  const [newer, setNewer] = useState<Entity | null>(null)
  const [pending, setPending] = useState(false)
  const wrong = text.trim() === '' ? '' : checkJson(text)
  const first = useRef(true)
  const save = async (e?: Event): Promise<void> => {
    e?.preventDefault()
    first.current = false
    if (!key || !text.trim() || wrong) return
    setPending(true)
    setProblem(null)
    try {
      onStored(await putIf(stream, key, text, base && !base.deleted ? base.version : 0))
      onClose()
    } catch (x) {
      const p = x as ProblemError
      setNewer(p.status === 412 ? (p.problem.entity ?? null) : null)
      setProblem(p.problem ?? { title: String(x) })
    }
    setPending(false)
  }
  return (
    <Dialog label="Set a value" class="wide" onClose={onClose}>
      <form onSubmit={save}>
        <h2>{base && !base.deleted ? <>Edit <span class="mono">{key}</span> at version {int(base.version)}</> : <>Set a key of {stream}</>}</h2>
        <p class="quiet">{base && !base.deleted ? 'Saved only if the key is still at this version.' : 'Saved only if the key is not there yet.'}</p>
        {!name && <div class="field edit-key"><input class="mono" aria-label="Key" placeholder="Key" value={key} onInput={(e) => setKey(e.currentTarget.value)} spellcheck={false} autocomplete="off" /></div>}
        <div class={newer ? 'both' : ''}>
          {newer && <div><h3 class="note">Stored now, version {int(newer.version)}</h3><pre class="bytes">{JSON.stringify(newer.value, null, 2)}</pre></div>}
          <div class="field edit-value">
            {newer && <h3 class="note">Yours, not stored</h3>}
            <textarea aria-label="Value as JSON" rows={Math.min(18, Math.max(6, text.split('\n').length + 1))} value={text} placeholder={'{"n": 1}'} spellcheck={false} aria-invalid={!!wrong}
              onInput={(e) => setText(e.currentTarget.value)} onKeyDown={(e) => { if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) void save() }} />
          </div>
        </div>
        <div class="edit-say">{problem ? <ProblemText problem={problem} /> : wrong ? <span class="problem">{wrong}</span> : null}</div>
        <div class="acts">
          {newer
            ? <button key="keep" class="btn first" type="button" disabled={pending} onClick={() => { setBase(newer); setNewer(null); setProblem(null) }}>Keep mine, on version {int(newer.version)}</button>
            : <button key="save" class="btn first" type="submit" disabled={pending || !text.trim() || !key || !!wrong}>{pending ? 'Waiting for the store' : 'Save'}</button>}
          {newer && <button class="btn" type="button" onClick={() => { setText(JSON.stringify(newer.value as Json, null, 2)); setBase(newer); setNewer(null); setProblem(null) }}>Take the stored one</button>}
          <button class="btn plain" type="button" onClick={onClose}>Cancel</button>
          <span class="note">Ctrl Enter saves</span>
        </div>
      </form>
    </Dialog>
  )
}

export function Remover({ entity, onClose, onRemoved }: { entity: Entity; onClose: () => void; onRemoved: () => void }): JSX.Element {
  const [problem, setProblem] = useState<Problem | null>(null)
  const [pending, setPending] = useState(false)
  const version = useRef(entity.version)
  const remove = async (): Promise<void> => {
    setPending(true)
    try {
      await removeIf(entity.stream, entity.key, version.current)
      onRemoved()
      onClose()
    } catch (x) {
      const p = x as ProblemError
      if (p.status === 412 && p.problem.entity) version.current = p.problem.entity.version
      setProblem(p.problem ?? { title: String(x) })
    }
    setPending(false)
  }
  return (
    <Dialog label="Remove this key" onClose={onClose}>
      <h2>Remove <span class="mono">{entity.key}</span>?</h2>
      <p class="quiet">The key is removed if it is still at version {int(version.current)}. Its past stays in the log; a later write sets it again.</p>
      <div class="edit-say">{problem && <ProblemText problem={problem} />}</div>
      <div class="acts">
        <button class="btn risk" type="button" disabled={pending} onClick={() => void remove()}>{pending ? 'Waiting for the store' : `Remove version ${int(version.current)}`}</button>
        <button class="btn plain" type="button" onClick={onClose}>Keep it</button>
      </div>
    </Dialog>
  )
}
