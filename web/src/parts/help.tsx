// The list of keys, and the switch that turns single keys off.
import { signal } from '@preact/signals'
import type { JSX } from 'preact'
import { setSingleKeys, singleKeys } from '../keys'
import { Dialog } from './dialog'

export const helpOpen = signal(false)

const LIST: [string, string][] = [
  ['/', 'search'], ['?', 'this list'], ['g s', 'streams'], ['g a', 'agents'], ['g i', 'pipeline'], ['g d', 'dead letters'],
  ['j  k', 'move'], ['Enter', 'open'], ['Esc', 'back'], ['p', 'pause what you see'], ['e', 'edit the value'], ['n', 'set a key'],
  ['v', 'say the value now'], ['t', 'chart as table'], ['x', 'mark a dead letter'], ['h', 'its bytes as hex'], ['r', 'replay it']
]

export const Help = (): JSX.Element => (
  <Dialog label="Keyboard" onClose={() => { helpOpen.value = false }}>
    <h2>Keyboard</h2>
    <div class="keys-help">{LIST.map(([key, what]) => <div key={key}><span>{what}</span><kbd>{key}</kbd></div>)}</div>
    <label class="opt"><input type="checkbox" class="check" checked={singleKeys.value} onChange={(e) => setSingleKeys(e.currentTarget.checked)} /> Single keys act (the others always do)</label>
    <div class="acts"><button class="btn" type="button" onClick={() => { helpOpen.value = false }}>Close</button></div>
  </Dialog>
)
