package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"retrieverkeys/apikey"
	"retrieverkeys/wire"
)

// feedPath is the path of the feed of audit events.
const feedPath = "/v1/audit-events"

// feed answers with a page of the organization's audit events: a line of JSON for each, oldest first by arrival. A client that follows the cursor
// gets every event at least once.
func (h rest) feed(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	caller := apikey.CallerFrom(ctx)
	// A caller that may not read the feed must not learn what else is wrong with the request.
	if err := h.service.AuthorizeFeed(caller); err != nil {
		h.refuse(w, r, err)
		return
	}
	options, err := feedOptions(r.URL.RawQuery)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	feed, err := h.service.Feed(ctx, caller, options)
	switch {
	case errors.Is(err, apikey.ErrEventsDeleted), errors.Is(err, apikey.ErrFeedReplaced):
		e := apikey.Classify(err)
		writeJSON(w, http.StatusGone, errorBody{Status: http.StatusGone, Error: errorDetail{
			Message: e.Message, Type: "GoneError", Details: map[string]any{"field": e.Field},
		}})
		return
	case err != nil:
		h.refuse(w, r, err)
		return
	}
	held := min(max(0, feedBytes(feed)-shortAnswer), h.answers.bytes)
	if !h.answers.Take(ctx, held) {
		h.refuse(w, r, overloaded())
		return
	}
	defer h.answers.Give(held)
	next := feed.Next()
	header := w.Header()
	header.Set("Content-Type", "application/x-ndjson; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Next-Cursor", next)
	header.Set("Link", "<"+feedPath+"?after="+next+"&limit="+strconv.Itoa(options.Limit)+`>; rel="next"`)
	w.WriteHeader(http.StatusOK)
	// The lines are sent in parts, so that they are never all in memory beside the events.
	b := make([]byte, 0, min(partBytes, lineBytes*len(feed.Events)))
	for i := range feed.Events {
		b = appendLine(b, feed, i)
		if len(b) > partBytes-lineBytes {
			b = h.write(w, b)
		}
	}
	h.write(w, b)
}

// feedBytes returns the memory that a page takes with its longest line. JSON escapes a control character by six bytes, and a buffer that grows can
// be larger than its text by a half.
func feedBytes(feed *apikey.Feed) int64 {
	const perByte = 6 + 3
	sum, largest := feed.Size()
	return int64(sum) + perByte*int64(largest)
}

// lineBytes is about the length of a line.
const lineBytes = 700

// appendLine appends the line of an event. Its fields are those of the stored document, so that a program can read either.
func appendLine(b []byte, feed *apikey.Feed, i int) []byte {
	e := &feed.Events[i]
	b = wire.Text(append(b, `{"audit_id":`...), e.ID)
	b = wire.Text(append(b, `,"internal_id":`...), e.InternalID)
	b = wire.Text(append(b, `,"namespace_id":`...), e.NamespaceID)
	b = wire.Texts(append(b, `,"retriever_ids":`...), e.RetrieverIDs)
	b = wire.Time(append(b, `,"timestamp":`...), e.Timestamp)
	b = wire.Text(append(b, `,"resource_type":`...), e.ResourceType)
	b = wire.Text(append(b, `,"resource_id":`...), e.ResourceID)
	b = wire.Text(append(b, `,"action":`...), e.Action)
	b = wire.Text(append(b, `,"actor_id":`...), e.ActorID)
	b = wire.Text(append(b, `,"actor_type":`...), e.ActorType)
	b = wire.OptionalText(append(b, `,"actor_key_id":`...), e.ActorKeyID)
	b = wire.Text(append(b, `,"status":`...), e.Outcome)
	b = wire.Array(append(b, `,"changes":`...), len(e.Changes), func(b []byte, i int) []byte {
		c := &e.Changes[i]
		b = wire.Text(append(b, `{"field":`...), c.Field)
		b = wire.OptionalText(append(b, `,"before":`...), c.Before)
		b = wire.OptionalText(append(b, `,"after":`...), c.After)
		return append(b, '}')
	})
	b = wire.OptionalText(append(b, `,"ip_address":`...), e.IPAddress)
	b = wire.OptionalText(append(b, `,"user_agent":`...), e.UserAgent)
	b = feed.AppendCursor(append(b, `,"cursor":"`...), i)
	return append(b, "\"}\n"...)
}

// feedOptions reads the parameters of the feed. An empty cursor counts as missing, because scripts send it before they have one.
func feedOptions(rawQuery string) (o apikey.FeedOptions, err error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil { // r.URL.Query would silently drop what it cannot parse
		return o, apikey.Invalid("query", "The query is not well-formed.")
	}
	if o.After, err = only("after", query["after"]); err != nil {
		return o, err
	}
	since, err := only("since", query["since"])
	if err != nil {
		return o, err
	}
	if query.Has("since") {
		// A + in a query means a space.
		at, ok := apikey.ParseDate(strings.ReplaceAll(since, " ", "+"))
		if !ok {
			return o, apikey.Invalid("since", "since must be an RFC 3339 date, such as 2026-03-01T09:30:00Z.")
		}
		o.Since = &at
	}
	o.Limit = apikey.MaxFeedPage
	for i, text := range query["limit"] {
		n, err := strconv.Atoi(text)
		if err != nil || strings.Trim(text, "0123456789") != "" {
			n = 0 // which is refused below
		}
		switch {
		case n < 1 || n > apikey.MaxFeedPage:
			return o, apikey.Invalid("limit", "limit must be a number from 1 to %d.", apikey.MaxFeedPage)
		case i > 0 && n != o.Limit:
			return o, apikey.Invalid("limit", "limit is given twice with different values.")
		}
		o.Limit = n
	}
	return o, nil
}
