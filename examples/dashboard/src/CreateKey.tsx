import { useMutation } from "@apollo/client/react";
import { type FormEvent, useEffect, useState } from "react";
import { Dialog } from "./Dialog";
import { graphql } from "./gql";
import { Field, Problem } from "./Problem";

const Create = graphql(`
  mutation CreateKey($input: CreateApiKeyInput!) {
    createApiKey(input: $input) {
      key
      apiKey {
        id
      }
    }
  }
`);

export function CreateKey({ retriever, onClose }: { retriever: string; onClose: () => void }) {
  // The plaintext exists only in this dialog. It is not cached, and is gone when the dialog closes.
  const [create, { data, error, loading }] = useMutation(Create, { fetchPolicy: "no-cache", refetchQueries: ["Keys"] });
  const key = data?.createApiKey?.key;
  const [copied, setCopied] = useState(false);
  const [message, setMessage] = useState("");

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name)).trim();
    const expires = text("expiresAt");
    create({
      variables: {
        input: {
          retrieverId: retriever,
          name: text("name"),
          description: text("description") || null,
          expiresAt: expires ? new Date(`${expires}T00:00`).toISOString() : null,
        },
      },
    }).catch(() => {}); // the hook returns the error
  }
  function stored() {
    setCopied(true);
    setMessage("Copied.");
  }

  // A dialog that closes while the API answers, or before the key is copied, would lose the key.
  const losing = loading || (key && !copied);
  const remind = () => setMessage(key ? "You have not copied the key." : "");
  useEffect(() => {
    if (!losing) return;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [losing]);

  return (
    <Dialog title={key ? "Your new key" : "Create a key"} onClose={onClose} onKept={losing ? remind : undefined}>
      {(close) => key ? (
        <>
          <p>Copy it now. It is shown only once and cannot be retrieved again.</p>
          <code className="plaintext" onCopy={stored}>{key}</code>
          <p role="status">{message}</p>
          <div className="actions">
            <button type="button" onClick={close}>{copied ? "Done" : "Discard the key"}</button>
            <button type="button" className="main" autoFocus onClick={() => navigator.clipboard.writeText(key).then(stored,
              () => setMessage("The browser did not allow copying. Select the key and copy it."))}>Copy</button>
          </div>
        </>
      ) : (
        <form onSubmit={submit}>
          <Field label="Name" name="name" error={error} required maxLength={100} />
          <Field label="Description" name="description" error={error} maxLength={500} />
          <Field label="Expires at the start of" name="expiresAt" error={error} type="date" />
          <Problem error={error} fields={["name", "description", "expiresAt"]} />
          <div className="actions">
            <button type="button" disabled={loading} onClick={close}>Cancel</button>
            <button className="main" disabled={loading}>{loading ? "Creating…" : "Create"}</button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
