// A modal box on the browser's own <dialog>: focus is kept inside and given back, Esc closes.
import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'

export function Dialog({ label, class: cls, onClose, children }: { label: string; class?: string; onClose: () => void; children: ComponentChildren }): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const el = ref.current!
    if (!el.open) el.showModal()
    return () => el.close()
  }, [])
  return (
    <dialog ref={ref} class={cls} aria-label={label} onClose={onClose} onClick={(e) => { if (e.target === ref.current) onClose() }}>
      {children}
    </dialog>
  )
}
