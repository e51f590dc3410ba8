import { type ReactNode, type SyntheticEvent, useEffect, useId, useRef } from "react";

interface Props {
  title: string;
  onClose: () => void;
  onKept?: (() => void) | undefined; // while it is set, Escape does not close the dialog but calls it
  children: (close: () => void) => ReactNode;
}

// A native modal dialog: the browser traps the focus, closes the dialog on Escape, and restores the focus. So children call close, and the
// dialog is unmounted only after it has closed.
export function Dialog({ title, onClose, onKept, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const leaving = useRef(false);
  const titleId = useId();
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);

  function cancel(event: SyntheticEvent) {
    if (!onKept) return;
    event.preventDefault();
    onKept();
  }
  // Browsers let a page cancel the first Escape only. A dialog that must be kept opens again.
  function closed() {
    if (!onKept || leaving.current) return onClose();
    dialog.current?.showModal();
    onKept();
  }
  function close() {
    leaving.current = true;
    dialog.current?.close();
  }
  return (
    <dialog ref={dialog} aria-labelledby={titleId} onCancel={cancel} onClose={closed}>
      <h2 id={titleId}>{title}</h2>
      {children(close)}
    </dialog>
  );
}
