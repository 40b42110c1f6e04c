// One dead letter: why it was refused, its bytes as text or hex with the failing one marked, its
// facts and headers, and what can be done. Invariant: what cannot be taken back asks for the word.
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { bytes as size, int, time } from '../fmt'
import { Dialog } from '../parts/dialog'
import { Glyph } from '../parts/glyph'
import { sentence } from '../parts/problem'
import { copy } from '../parts/toast'
import { decode, hex, text, type Letter, type Run } from './dlq-model'

const narrow = matchMedia('(max-width: 700px)')
const runs = (all: Run[]): JSX.Element[] => all.map((r, i) => (r.bad ? <mark key={i}>{r.text}</mark> : <span key={i}>{r.text}</span>))

function save(l: Letter): void {
  const url = URL.createObjectURL(new Blob([decode(l.value_base64 ?? '') as BlobPart]))
  const a = document.createElement('a')
  a.href = url
  a.download = `${l.stream}-${l.position}.bin`
  a.click()
  URL.revokeObjectURL(url)
}

export function Detail({ letter: l, as, setAs, said, onReplay, onDiscard, onBack }: {
  letter: Letter; as: 'text' | 'hex'; setAs: (a: 'text' | 'hex') => void; said: string; onReplay: () => void; onDiscard: () => void; onBack: () => void
}): JSX.Element {
  const [asking, setAsking] = useState(false)
  const [word, setWord] = useState('')
  const raw = l.value_base64 != null ? decode(l.value_base64) : null
  const bad = l.failed_at ?? null
  const headers = Array.isArray(l.headers) ? l.headers : Object.entries(l.headers ?? {})
  const done = l.mark != null
  return (
    <section class="detail" aria-labelledby="d-reason">
      <button class="btn plain back" type="button" onClick={onBack}><Glyph name="back" /> All records</button>
      <div class="head"><h2 id="d-reason">{l.reason}</h2>
        <div class="right tabs" role="group" aria-label="Show bytes as">
          <button type="button" aria-pressed={as === 'text'} onClick={() => setAs('text')}>Text</button>
          <button type="button" aria-pressed={as === 'hex'} onClick={() => setAs('hex')}>Hex</button>
        </div></div>
      <p class="why">{sentence(l.detail ?? '')}</p>
      <pre class="bytes" tabIndex={0} aria-label="Original bytes">
        {raw === null ? <span class="dim">Reading the bytes.</span>
          : raw.length === 0 ? <span class="dim">no bytes: a removal</span>
            : as === 'text' ? runs(text(raw, bad))
              : hex(raw, bad, narrow.matches ? 8 : 16).map((line) => <div key={line.offset}><span class="dim">{line.offset}</span>{'  '}{runs(line.hex)} <span class="quiet">{runs(line.ascii)}</span></div>)}
      </pre>
      <div class="acts">
        <button class="btn first" type="button" disabled={done} onClick={onReplay}>Replay <kbd>r</kbd></button>
        <button class="btn risk" type="button" disabled={done} onClick={() => { setWord(''); setAsking(true) }}>Discard</button>
        <button class="btn plain" type="button" disabled={raw === null} onClick={() => void copy(l.value_base64 ?? '', `${int(raw?.length ?? 0)} bytes as base64`)}>Copy as base64</button>
        <button class="btn plain" type="button" disabled={raw === null} onClick={() => save(l)}>Save</button>
        <span class="note">{said || (done ? `Already ${l.mark}.` : `Replay appends the same bytes to ${l.topic ?? l.stream}.`)}</span>
      </div>
      <div class="meta">
        <dl class="facts">
          <div><dt>Stream</dt><dd>{l.stream}</dd></div>
          <div><dt>Position</dt><dd>{l.position}</dd></div>
          <div><dt>Key</dt><dd title={l.key ?? ''}>{l.key ?? 'none'}</dd></div>
        </dl>
        <dl class="facts">
          <div><dt>Record time</dt><dd>{l.time ? time(Date.parse(l.time), 3) : ''}</dd></div>
          <div><dt>Refused</dt><dd>{time(Date.parse(l.at), 3)}</dd></div>
          <div><dt>Size</dt><dd>{size(l.bytes ?? raw?.length ?? 0)}</dd></div>
        </dl>
      </div>
      <div class="head headers-head"><h2 class="plain">Headers</h2><span class="note">the producer's own, then what Statecast added</span></div>
      <dl class="facts headers">{headers.length ? headers.map(([k, v], i) => <div key={i}><dt>{k}</dt><dd title={v}>{v}</dd></div>) : <div><dt>none</dt><dd /></div>}</dl>
      {asking && (
        <Dialog label="Discard this record" onClose={() => setAsking(false)}>
          <form onSubmit={(e) => { e.preventDefault(); if (word === 'discard') { onDiscard(); setAsking(false) } }}>
            <h2>Discard {l.position} of {l.stream}?</h2>
            <p class="quiet">It is marked as not worth replaying. Its bytes stay in the dead-letter topic as long as that keeps them. Type <b>discard</b> to do so.</p>
            <div class="field edit-key"><input aria-label="Type discard" value={word} onInput={(e) => setWord(e.currentTarget.value)} autocomplete="off" /></div>
            <div class="acts"><button class="btn risk" type="submit" disabled={word !== 'discard'}>Discard</button><button class="btn plain" type="button" onClick={() => setAsking(false)}>Keep it</button></div>
          </form>
        </Dialog>
      )}
    </section>
  )
}
