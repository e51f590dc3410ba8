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

type List = NonNullable<KeysQuery["retriever"]>["apiKeys"];
export type Key = List["results"][number];

// A page is where a list goes on, and how many keys are before it.
interface Page {
  at: Pick<KeysQueryVariables, "first" | "after" | "last" | "before">;
  start: number;
}

const statuses: Record<ApiKeyStatus, string> = { ACTIVE: "Active", EXPIRED: "Expired", REVOKED: "Revoked" };
const pageSize = 25;
const firstPage: Page = { at: { first: pageSize }, start: 0 };

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

  const { data, error, loading } = useQuery(KeysDocument, {
    variables: { retriever, filter: { status: status ? [status] : null, search: search || null }, ...page.at },
    notifyOnNetworkStatusChange: true,
    fetchPolicy: "cache-and-network",
  });
  // The previous list stays visible until the new one arrives.
  const [shown, setShown] = useState<{ list: List; start: number }>();
  const arrived = data?.retriever?.apiKeys;
  if (arrived && arrived !== shown?.list) setShown({ list: arrived, start: startOf(arrived, page.start) });
  const list = shown?.list;

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
      {shown && list && !error && (
        <>
          <nav aria-label="Pages">
            <p role="status" className="quiet">{range(shown.start, list)}</p>
            <button type="button" disabled={loading || !list.pageInfo.hasPreviousPage}
              onClick={() => setPage({ at: { last: pageSize, before: list.pageInfo.startCursor }, start: shown.start - pageSize })}>Previous</button>
            <button type="button" disabled={loading || !list.pageInfo.hasNextPage}
              onClick={() => setPage({ at: { first: pageSize, after: list.pageInfo.endCursor }, start: shown.start + list.results.length })}>Next</button>
          </nav>
          {list.results.length > 0
            ? <Table keys={list.results} busy={loading} onRevoke={setRevoking} />
            : !loading && <p className="empty">{status || search ? "No key matches." : "This retriever has no keys yet."}</p>}
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

// startOf corrects the count of the keys before a page at both ends of the list: keys are created and revoked while somebody pages.
function startOf({ results, total, pageInfo }: List, start: number) {
  if (!pageInfo.hasPreviousPage) return 0;
  return pageInfo.hasNextPage ? Math.max(start, 1) : total - results.length;
}

function range(start: number, { results, total }: List) {
  if (results.length === 0) return "0 keys";
  return `${(start + 1).toLocaleString()}–${(start + results.length).toLocaleString()} of ${total.toLocaleString()}`;
}

// useSettled returns a value after it has not changed for a moment, so that not every keystroke sends a request.
function useSettled(value: string) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), 250);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
