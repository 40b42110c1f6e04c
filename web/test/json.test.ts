// Values as leaves: what differs is found by path, and names with dots or slashes stay apart.
import { describe as group, expect, it } from 'vitest'
import { at, describe, diff, firstNumber, leaves, preview, spoken } from '../src/json/leaves'
import { countLines, folds, lines, openLines } from '../src/json/lines'

const boiler = { temperature_c: 71.4, burner: { on: true, flame: 0.64 }, alarms: [] as string[], 'a/b': { 'c.d': 1 } }

group('leaves', () => {
  it('are listed by pointer', () => expect(leaves(boiler).map((l) => l.path)).toEqual(['/temperature_c', '/burner/on', '/burner/flame', '/alarms', '/a~1b/c.d']))
  it('are found by pointer', () => {
    expect(at(boiler, '/a~1b/c.d')).toBe(1)
    expect(at(boiler, '/burner/none')).toBeUndefined()
    expect(at(71, '')).toBe(71)
  })
  it('are spoken as people say them', () => {
    expect(spoken('/burner/flame')).toBe('burner.flame')
    expect(spoken('/lines/2/qty')).toBe('lines[2].qty')
    expect(spoken('')).toBe('')
  })
  it('know the first number', () => {
    expect(firstNumber(boiler)).toBe('/temperature_c')
    expect(firstNumber('text')).toBeNull()
    expect(firstNumber(4)).toBe('')
  })
})

group('differences', () => {
  it('are changed, new and gone', () => {
    expect(diff({ a: 1, b: 2 }, { a: 3, c: 4 })).toEqual([
      { path: '/a', kind: 'changed', was: 1, is: 3 }, { path: '/c', kind: 'new', was: undefined, is: 4 }, { path: '/b', kind: 'gone', was: 2, is: undefined }])
  })
  it('are none between equal values, whatever the order of names', () => expect(diff({ a: 1, b: [] }, { b: [], a: 1 })).toEqual([]))
  it('see a leaf become a branch', () => expect(diff({ a: 1 }, { a: { b: 1 } }).map((d) => d.kind)).toEqual(['new', 'gone']))
  it('are told in one line', () => {
    expect(describe({ t: 1, u: 1 }, { t: 2, u: 3 })).toBe('t 1 \u2192 2 +1')
    expect(describe(1, 2)).toBe('1 \u2192 2')
    expect(describe({ a: 1 }, {})).toMatch(/a gone|\{\}/)
    expect(describe(5, 5)).toBe('the same value again')
  })
})

group('lines', () => {
  it('are one per leaf and two per branch', () => {
    expect(lines(boiler, new Set()).map((l) => `${l.depth}${l.kind[0]}${l.name ?? ''}`)).toEqual([
      '0o', '1ltemperature_c', '1oburner', '2lon', '2lflame', '1c', '1lalarms', '1oa/b', '2lc.d', '1c', '0c'])
    expect(countLines(boiler)).toBe(11)
  })
  it('have commas where JSON has them', () => {
    expect(lines({ a: 1, b: [1, 2] }, new Set()).map((l) => l.comma)).toEqual([false, true, false, true, false, false, false])
  })
  it('keep a gone leaf among its neighbours', () => {
    const all = lines({ a: 1, c: 3 }, new Set(), { a: 1, b: 2, c: 3 })
    expect(all.map((l) => [l.name, l.gone])).toEqual([[null, false], ['a', false], ['b', true], ['c', false], [null, false]])
  })
  it('fold', () => expect(lines({ a: { b: 1 } }, new Set(['/a'])).map((l) => l.kind)).toEqual(['open', 'folded', 'close']))
  it('fold by themselves only where there are many', () => {
    expect(folds(boiler).size).toBe(0)
    expect(openLines({ n: 1, long: Array.from({ length: 3_000 }, (_, i) => i) })).toBe(4)
    expect(folds({ long: Array.from({ length: 3_000 }, (_, i) => i) }).has('/long')).toBe(true)
  })
})

group('a preview', () => {
  it('parts the leaf that changed from the rest', () => expect(preview({ a: 1, t: 71.4, z: [] }, '/t')).toEqual(['{"a":1,"t":', '71.4', ',"z":[]}']))
  it('is whole where nothing is marked', () => expect(preview([1, { a: null }], null).join('')).toBe('[1,{"a":null}]'))
  it('is cut', () => {
    const text = preview({ a: 'x'.repeat(500) }, null, 50).join('')
    expect(text.length).toBe(51)
    expect(text.endsWith('\u2026')).toBe(true)
  })
})
