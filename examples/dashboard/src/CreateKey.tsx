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
  // The plaintext lives in this dialog alone: no cache, and gone when it closes.
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
    }).catch(() => {}); // it is in error
  }

  const key = data?.createApiKey?.key;
  if (key) {
    return (
      <Dialog title="Your new key" onClose={onClose}>
        {(close) => (
          <>
            <p>Copy it now. It is shown this once, and nobody can read it back.</p>
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
  const [told, tell] = useState("");
  const copy = () => navigator.clipboard.writeText(text).then(
    () => tell("Copied."),
    () => tell("This browser does not let pages copy: select it and copy it yourself."),
  );
  return (
    <>
      <span role="status">{told}</span>
      <button type="button" className="main" autoFocus onClick={copy}>Copy</button>
    </>
  );
}
