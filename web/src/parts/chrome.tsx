// The frame: top bar with its pages, the status pill, the strip at the bottom, theme and pause.
// Invariant: its words come from live/status.ts alone; nothing here decides what is true.
import { signal } from '@preact/signals'
import type { JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { age, int } from '../fmt'
import { startKeys, useKeys } from '../keys'
import { catalog, catalogProblem, nav, onAdmin, publicBase } from '../live/catalog'
import { link } from '../live/link'
import { announced, heardMs, polling, said, strip } from '../live/status'
import { pausedAt, togglePause } from '../paint'
import { go, keyPath, route, streamPath } from '../router'
import { Glyph, Mark, PauseIcon, PlayIcon, ThemeIcon } from './glyph'
import { Help, helpOpen } from './help'
import { RoomSheet, sheetOpen } from './sheet'
import { Toasts } from './toast'

const THEMES = ['auto', 'light', 'dark'] as const
const STORED = 'statecast-theme'
export const theme = signal<string>(remembered())

function remembered(): string {
  try {
    return localStorage.getItem(STORED) ?? 'auto'
  } catch {
    return 'auto'
  }
}

function show(name: string): void {
  if (name === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = name
}

function turnTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value as 'auto') + 1) % THEMES.length]!
  show(theme.value)
  try {
    localStorage.setItem(STORED, theme.value)
  } catch { /* it holds until the tab closes */ }
}

export function startChrome(): void {
  show(theme.value)
  startKeys()
}

function goTo(text: string): void {
  const asked = text.trim()
  const base = publicBase()
  if (!asked || base === null) return
  const known = catalog.value?.streams.map((s) => s.stream) ?? []
  if (known.includes(asked)) return go(base + streamPath(asked))
  const slash = asked.indexOf('/')
  if (slash > 0 && known.includes(asked.slice(0, slash))) return go(base + keyPath(asked.slice(0, slash), asked.slice(slash + 1)))
  go(base + keyPath('kv', asked))
}

export function Top(): JSX.Element {
  const box = useRef<HTMLInputElement>(null)
  const bar = useRef<HTMLElement>(null)
  const { page } = route.value
  const here = page === 'viewer' || page === 'stream' ? 'streams' : page
  const { pages, admin } = nav()
  const ready = catalog.value !== null || catalogProblem.value !== '' // all at once, so that none is pushed aside
  const jump = (id: string) => (): void => {
    const to = [...pages, ...admin].find((p) => p.id === id)
    if (to) go(to.href)
  }
  useKeys({
    '/': () => (document.querySelector<HTMLInputElement>('[data-search]') ?? box.current)?.focus(),
    '?': () => { helpOpen.value = true },
    p: togglePause,
    'g s': jump('streams'), 'g a': jump('agents'), 'g i': jump('pipeline'), 'g d': jump('dlq')
  })
  useEffect(() => {
    const current = bar.current?.querySelector<HTMLElement>('[aria-current]')
    if (current && bar.current) bar.current.scrollLeft = current.offsetLeft - 16
  }, [here, ready, pages.length, admin.length])
  const item = (p: { id: string; name: string; href: string }): JSX.Element => <a key={p.id} href={p.href} aria-current={p.id === here ? 'page' : undefined}>{p.name}</a>
  return (
    <header class="top">
      <a class="brand" href={pages[0]?.href ?? '/'} aria-label="Statecast, streams"><Mark /><span>Statecast</span></a>
      <nav aria-label="Pages" ref={bar}>
        {ready && pages.map(item)}
        {ready && pages.length > 0 && admin.length > 0 && <span class="nav-rule" title="Served on the admin listener" />}
        {ready && admin.map(item)}
      </nav>
      <form class="goto" role="search" onSubmit={(e) => { e.preventDefault(); goTo(box.current!.value); box.current!.value = ''; box.current!.blur() }}>
        {(!onAdmin() || (ready && pages.length > 0)) && <>
          <input ref={box} type="search" placeholder="Go to stream or key" aria-label="Go to stream or key" autocomplete="off" spellcheck={false} />
          <kbd aria-hidden="true">/</kbd>
        </>}
      </form>
      <span class="icons">
        <button class="icon" type="button" id="pause" aria-pressed={pausedAt.value > 0} aria-label={pausedAt.value ? 'Go on' : 'Pause what you see'} title={pausedAt.value ? 'Go on (p)' : 'Pause what you see (p)'} onClick={togglePause}>{pausedAt.value ? <PlayIcon /> : <PauseIcon />}</button>
        <button class="icon" type="button" id="theme" aria-label={`Theme: ${theme.value}. Change`} title={`Theme: ${theme.value}`} onClick={turnTheme}><ThemeIcon theme={theme.value} /></button>
      </span>
      <Pill />
      <p class="sr" role="status">{announced.value}</p>
    </header>
  )
}

function Pill(): JSX.Element {
  const { word, name } = said.value
  const rooms = link.ownRooms()
  const read = rooms.reduce((n, r) => n + r.read, 0)
  const ready = word !== 'loading' || rooms.length === 0
  return (
    <button class="pill" id="pill" type="button" data-state={word} aria-haspopup="dialog" title="Time since the server was last heard" onClick={() => { sheetOpen.value = true }}>
      <Glyph name={word} /><span>{name}</span>
      <span class="num">{ready ? age(heardMs.value) : read > 0 ? int(read) : ''}</span>
    </button>
  )
}

export function Strip(): JSX.Element {
  const s = strip.value
  const { say } = said.value
  return (
    <footer class="strip" aria-label="Connection">
      {say ? <span class="strip-say">{say}</span> : (
        <span class="strip-facts" key={polling.value ? 'polled' : 'live'}>
          <span><b class="w9">{s.transport}</b></span>
          {polling.value
            ? <span>answered in <b class="w5">{s.answered_ms === null ? '' : `${int(s.answered_ms)} ms`}</b></span>
            : <>
              <span>heartbeat <b class="w4">{s.beat_s === null ? '\u2013' : `${s.beat_s} s`}</b></span>
              <span>in <b class="w4">{int(s.per_s)}</b>/s</span>
            </>}
          <span class="wide">paints <b class="w2">{s.paints_s}</b>/s</span>
          {!polling.value && <span>skipped <b class="w5">{int(s.skipped)}</b></span>}
          <span class="far" title="Server time minus this device's">clock <b class="w8">{s.clock}</b></span>
          {s.note && <span class="far">{s.note}</span>}
        </span>
      )}
      <button class="btn plain end hide-s" type="button" onClick={() => { helpOpen.value = true }}>Keys <kbd>?</kbd></button>
    </footer>
  )
}

/** "as of 10:04:21 UTC" beside a heading, while the page may not speak in the present. */
export function AsOf(): JSX.Element | null {
  const { present, as_of, word } = said.value
  if (present && word !== 'paused') return null
  return <span class="asof">{word === 'paused' ? 'paused at' : 'as of'} {new Date(as_of).toISOString().slice(11, 19)} UTC</span>
}

export function Frame({ children }: { children: JSX.Element }): JSX.Element {
  return (
    <>
      <a class="skip" href="#main">Skip to content</a>
      <Top />
      {children}
      <Strip />
      <Toasts />
      {helpOpen.value && <Help />}
      {sheetOpen.value && <RoomSheet />}
    </>
  )
}
