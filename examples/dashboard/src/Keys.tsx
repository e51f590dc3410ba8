import { useQuery } from "@apollo/client/react";
import { useEffect, useState } from "react";
import { CreateKey } from "./CreateKey";
import { graphql } from "./gql";
import type { ApiKeyStatus, KeysQuery, KeysQueryVariables } from "./gql/graphql";
import { Problem } from "./Problem";
import { RevokeKey } from "./RevokeKey";

const KeysDocument = graphql(`
  query Keys($retriever: ID!, $filter: ApiKeyFilter, $first: Int, $after: String, $last: Int, $before: String) {
    retriever(id: $retriever) {
      id
      apiKeys(includeRevoked: true, filter: $filter, first: $first, after: $after, last: $last, before: $before) {
        total
        results {
          id
          name
          description
          keyPrefix
          status
          createdAt
          lastUsedAt
          expiresAt
        }
        pageInfo {
          hasPreviousPage
          hasNextPage
          startCursor
          endCursor
        }
      }
    }
  }
`);

export type Key = NonNullable<KeysQuery["retriever"]>["apiKeys"]["results"][number];
type Page = Pick<KeysQueryVariables, "first" | "after" | "last" | "before">;

const statuses: Record<ApiKeyStatus, string> = { ACTIVE: "Active", EXPIRED: "Expired", REVOKED: "Revoked" };
const pageSize = 25;
const firstPage: Page = { first: pageSize };

export function Keys({ retrievers }: { retrievers: { id: string; name: string }[] }) {
  const [retriever, setRetriever] = useState(retrievers[0]!.id);
  const [status, setStatus] = useState<ApiKeyStatus | "">("");
  const [text, setText] = useState("");
  const search = useSettled(text.trim());
  const [page, setPage] = useState(firstPage);
  const [creating, setCreating] = useState(false);
  const [revoking, setRevoking] = useState<Key>();

  // A change of the selection starts at the first page, because a cursor is valid only for the list that it came from.
  const [selected, setSelected] = useState("");
  const selects = JSON.stringify([retriever, status, search]);
  if (selects !== selected) {
    setSelected(selects);
    setPage(firstPage);
  }

  const { data, previousData, error, loading } = useQuery(KeysDocument, {
    variables: { retriever, filter: { status: status ? [status] : null, search: search || null }, ...page },
    notifyOnNetworkStatusChange: true,
    fetchPolicy: "cache-and-network",
  });
  const list = (data ?? previousData)?.retriever?.apiKeys; // the previous list stays visible until the new one arrives
  const pageInfo = list?.pageInfo;

  return (
    <>
      <form className="tools" role="search" onSubmit={(event) => event.preventDefault()}>
        <label>Retriever
          <select value={retriever} onChange={(event) => setRetriever(event.target.value)}>
            {retrievers.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
          </select>
        </label>
        <label>Status
          <select value={status} onChange={(event) => setStatus(event.target.value as ApiKeyStatus | "")}>
            <option value="">All</option>
            {Object.entries(statuses).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
          </select>
        </label>
        <label className="grow">Search
          <input type="search" placeholder="Name, description or prefix" value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <button type="button" className="main" onClick={() => setCreating(true)}>Create key</button>
      </form>

      <Problem error={error} />
      {list && !error && (
        <>
          <p role="status" className="quiet">{loading ? "Loading…" : count(list.total)}</p>
          {list.results.length > 0
            ? <Table keys={list.results} busy={loading} onRevoke={setRevoking} />
            : !loading && <p className="empty">{status || search ? "No key matches." : "This retriever has no keys yet."}</p>}
          <nav aria-label="Pages">
            <button type="button" disabled={loading || !pageInfo?.hasPreviousPage}
              onClick={() => setPage({ last: pageSize, before: pageInfo?.startCursor ?? null })}>Previous</button>
            <button type="button" disabled={loading || !pageInfo?.hasNextPage}
              onClick={() => setPage({ first: pageSize, after: pageInfo?.endCursor ?? null })}>Next</button>
          </nav>
        </>
      )}
      {!list && !error && <p role="status" className="empty">Loading…</p>}

      {creating && <CreateKey retriever={retriever} onClose={() => setCreating(false)} />}
      {revoking && <RevokeKey apiKey={revoking} onClose={() => setRevoking(undefined)} />}
    </>
  );
}

function Table({ keys, busy, onRevoke }: { keys: Key[]; busy: boolean; onRevoke: (key: Key) => void }) {
  return (
    <table aria-busy={busy}>
      <caption className="unseen">API keys, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Status</th>
          <th scope="col">Created</th>
          <th scope="col">Last used</th>
          <th scope="col">Expires</th>
          <th scope="col"><span className="unseen">Actions</span></th>
        </tr>
      </thead>
      <tbody>
        {keys.map((key) => (
          <tr key={key.id}>
            <th scope="row">{key.name}<span className="quiet">{key.description}</span><code>{key.keyPrefix}</code></th>
            <td data-label="Status"><span className={`status ${key.status}`}>{statuses[key.status]}</span></td>
            <td data-label="Created"><Day at={key.createdAt} /></td>
            <td data-label="Last used"><Day at={key.lastUsedAt} none="Never" /></td>
            <td data-label="Expires"><Day at={key.expiresAt} none="Never" /></td>
            <td>
              {key.status !== "REVOKED" && (
                <button type="button" className="danger" aria-label={`Revoke ${key.name}`} onClick={() => onRevoke(key)}>Revoke</button>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Day({ at, none = "–" }: { at: string | null | undefined; none?: string }) {
  if (!at) return <span className="quiet">{none}</span>;
  const date = new Date(at);
  return <time dateTime={at} title={date.toLocaleString()}>{date.toLocaleDateString(undefined, { dateStyle: "medium" })}</time>;
}

const count = (total: number) => `${total.toLocaleString()} ${total === 1 ? "key" : "keys"}`;

// useSettled returns a value after it has not changed for a moment, so that not every keystroke sends a request.
function useSettled(value: string) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), 250);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
