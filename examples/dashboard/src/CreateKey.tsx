import { useMutation } from "@apollo/client/react";
import { type FormEvent, useState } from "react";
import { Dialog } from "./Dialog";
import { graphql } from "./gql";
import { Problem } from "./Problem";

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

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name)).trim();
    const expires = text("expires");
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

  const key = data?.createApiKey?.key;
  if (key) {
    return (
      <Dialog title="Your new key" onClose={onClose}>
        {(close) => (
          <>
            <p>Copy it now. It is shown only once and cannot be retrieved again.</p>
            <code className="plaintext">{key}</code>
            <div className="actions">
              <Copy text={key} />
              <button type="button" onClick={close}>Done</button>
            </div>
          </>
        )}
      </Dialog>
    );
  }
  return (
    <Dialog title="Create a key" onClose={onClose}>
      {(close) => (
        <form onSubmit={submit}>
          <label>Name<input name="name" required maxLength={100} autoComplete="off" /></label>
          <label>Description<input name="description" maxLength={500} autoComplete="off" /></label>
          <label>Expires at the start of<input name="expires" type="date" /></label>
          <Problem error={error} />
          <div className="actions">
            <button type="button" onClick={close}>Cancel</button>
            <button className="main" disabled={loading}>{loading ? "Creating…" : "Create"}</button>
          </div>
        </form>
      )}
    </Dialog>
  );
}

function Copy({ text }: { text: string }) {
  const [message, setMessage] = useState("");
  const copy = () => navigator.clipboard.writeText(text).then(
    () => setMessage("Copied."),
    () => setMessage("The browser did not allow copying. Select the key and copy it yourself."),
  );
  return (
    <>
      <span role="status">{message}</span>
      <button type="button" className="main" autoFocus onClick={copy}>Copy</button>
    </>
  );
}
