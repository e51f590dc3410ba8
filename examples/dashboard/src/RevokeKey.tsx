import { useMutation } from "@apollo/client/react";
import { Dialog } from "./Dialog";
import { graphql } from "./gql";
import type { Key } from "./Keys";
import { Problem } from "./Problem";

const Revoke = graphql(`
  mutation RevokeKey($id: ID!) {
    revokeApiKey(input: { id: $id }) {
      apiKey {
        id
        status
      }
    }
  }
`);

export function RevokeKey({ apiKey, onClose }: { apiKey: Key; onClose: () => void }) {
  const [revoke, { error, loading }] = useMutation(Revoke, {
    variables: { id: apiKey.id },
    refetchQueries: ["Keys"], // the key may no longer be in the list
  });
  const submit = (close: () => void) => void revoke().then(close, () => {}); // the hook returns the error

  return (
    <Dialog title={`Revoke “${apiKey.name}”?`} onClose={onClose}>
      {(close) => (
        <>
          <p>Requests with <code>{apiKey.keyPrefix ?? apiKey.id}</code> will be refused. This cannot be undone.</p>
          <Problem error={error} />
          <div className="actions">
            <button type="button" onClick={close}>Cancel</button>
            <button type="button" className="main danger" disabled={loading} onClick={() => submit(close)}>
              {loading ? "Revoking…" : "Revoke the key"}
            </button>
          </div>
        </>
      )}
    </Dialog>
  );
}
