// Words for numbers: each has a fixed shape, and the edges between shapes are where it breaks.
import { describe, expect, it } from 'vitest'
import { age, bytes, figure, fineAge, int, ms, plural, rate, time } from '../src/fmt'

describe('numbers', () => {
  it('groups thousands', () => expect(int(1284310.4)).toBe('1,284,310'))
  it('keeps one decimal of a small rate', () => {
    expect(rate(0)).toBe('0.0')
    expect(rate(99.94)).toBe('99.9')
    expect(rate(2310.2)).toBe('2,310')
  })
  it('shows milliseconds in three figures', () => {
    expect(ms(0.4)).toBe('0.40')
    expect(ms(4.23)).toBe('4.2')
    expect(ms(1234)).toBe('1,234')
  })
  it('counts one and many', () => {
    expect(plural(1, 'key')).toBe('1 key')
    expect(plural(2, 'version')).toBe('2 versions')
  })
  it('shows a figure as JSON has it while it is short', () => {
    expect(figure(71.4)).toBe('71.4')
    expect(figure(12345678901)).toBe('12,345,678,901')
    expect(figure(0.1 + 0.2)).toBe('0.3')
  })
  it('names bytes', () => {
    expect(bytes(93)).toBe('93 bytes')
    expect(bytes(2048)).toBe('2.0 KiB')
    expect(bytes(17_104_882)).toBe('16 MiB')
  })
})

describe('ages', () => {
  it('turns unit at the edge', () => {
    expect(age(999)).toBe('now')
    expect(age(1_000)).toBe('1\u00a0s')
    expect(age(59_999)).toBe('59\u00a0s')
    expect(age(60_000)).toBe('1\u00a0min')
    expect(age(3_600_000)).toBe('1\u00a0h')
    expect(age(172_800_000)).toBe('2\u00a0d')
  })
  it('never is negative', () => expect(age(-5_000)).toBe('now'))
  it('has tenths under ten seconds', () => {
    expect(fineAge(240)).toBe('0.2\u00a0s')
    expect(fineAge(12_000)).toBe('12\u00a0s')
  })
})

describe('times', () => {
  const at = Date.UTC(2026, 10, 21, 10, 4, 30, 118)
  it('is UTC, with decimals where asked', () => {
    expect(time(at, 0, at)).toBe('10:04:30')
    expect(time(at, 3, at)).toBe('10:04:30.118')
    expect(time(at, 1, at)).toBe('10:04:30.1')
  })
  it('shows the date of another day', () => expect(time(at, 0, at + 3 * 86_400_000)).toBe('11-21 10:04'))
  it('is empty for what is no time', () => expect(time(NaN)).toBe(''))
})
