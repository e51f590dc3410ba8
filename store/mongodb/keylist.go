package mongodb

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
)

// keyFilter selects keys of a tenant, also those that no list shows.
type keyFilter struct {
	by  bson.D // the conditions that an index can answer
	out bson.A // documents to leave out: MongoDB considers no index for a negation
	few bool   // by has retrievers or a creator: if no index has the list's order, the server sorts their keys
}

// keysThat selects the tenant's keys that meet the list's conditions, except the period of its order's date, which datedKeys and undatedKeys
// select. It is exact for old and odd documents too: it selects a document if and only if apikey.KeyConditions match the key that document.Key
// reads. So lists check nothing again, and counts carry no documents.
//
// An index can answer one of the conditions: the retrievers, or else the creator, or else the expiry. With more to choose from, a server has
// more ways to choose wrongly.
func keysThat(tenant apikey.InternalID, l *apikey.KeyList) keyFilter {
	w := &l.Where
	f := keyFilter{by: bson.D{{Key: "internal_id", Value: is(string(tenant))}}}
	if w.Naming != nil {
		f.few = !l.Walk
		f.require(f.few, keysNaming(w.Naming)...)
	}
	if w.CreatedBy != nil {
		f.require(!f.few, bson.E{Key: "created_by", Value: *w.CreatedBy})
		f.out = append(f.out, bson.D{{Key: "created_by", Value: aList}})
		f.few = true
	}
	switch {
	case l.Order.ByExpiry && !w.Created.Open():
		f.require(false, bson.E{Key: "created_at", Value: within(w.Created)})
	case l.Order.ByExpiry:
	case !w.Expires.Open():
		f.require(!f.few, bson.E{Key: "expires_at", Value: within(w.Expires)})
	case w.NeverExpires && !w.OnlyActive().IsZero(): // these have no odd expiry
		f.require(!f.few, bson.E{Key: "expires_at", Value: is(nil)})
	case w.NeverExpires:
		f.out = append(f.out, bson.D{{Key: "expires_at", Value: within(apikey.Period{})}})
	}
	if w.Status != nil {
		f.out = append(f.out, notInStatus(w)...)
	}
	if w.Types != nil {
		f.require(false, bson.E{Key: "$or", Value: ofTypes(w.Types)})
	}
	if w.NeverUsed {
		f.out = append(f.out, bson.D{{Key: "last_used_at", Value: within(apikey.Period{})}})
	}
	if w.UnusedSince != nil {
		f.out = append(f.out, bson.D{{Key: "last_used_at", Value: within(apikey.Period{From: w.UnusedSince})}})
	}
	if w.Findings != 0 {
		f.require(false, bson.E{Key: "$or", Value: withFindings(w)})
	}
	if !w.Search.Empty() {
		f.require(false, bson.E{Key: "$or", Value: found(&w.Search)})
	}
	return f
}

// require adds conditions, either where an index can answer them or where MongoDB considers none.
func (f *keyFilter) require(index bool, conditions ...bson.E) {
	switch {
	case len(conditions) == 0:
	case index:
		f.by = append(f.by, conditions...)
	default:
		f.out = append(slices.Clip(f.out), except(conditions))
	}
}

// with returns the filter with more conditions, which must not contain $nor.
func (f *keyFilter) with(more ...bson.E) bson.D {
	filter := make(bson.D, 0, len(f.by)+len(more)+1)
	filter = append(append(filter, f.by...), more...)
	if len(f.out) > 0 {
		filter = append(filter, bson.E{Key: "$nor", Value: f.out})
	}
	return filter
}

// usable is with for the keys that lists show.
func (f *keyFilter) usable(more ...bson.E) bson.D {
	g := keyFilter{by: f.by, out: slices.Concat(unusable, f.out)}
	return g.with(more...)
}

// except matches the documents that the conditions do not match.
func except(conditions bson.D) bson.D {
	return bson.D{{Key: "$nor", Value: bson.A{conditions}}}
}

// matchesNone reports whether no key can meet the conditions.
func matchesNone(w *apikey.KeyConditions) bool {
	return w.Naming != nil && len(w.Naming) == 0 || w.Status != nil && len(w.Status) == 0 || w.Types != nil && len(w.Types) == 0 ||
		w.NeverExpires && !w.Expires.Open()
}

// keysNaming selects the keys that name one of the retrievers. Ids of different types are distinct, so it does not matter whether one scope
// has both values.
func keysNaming(retrievers []apikey.RetrieverID) bson.D {
	return bson.D{
		{Key: "scopes.resource_id", Value: equal(retrievers...)},
		{Key: "scopes.resource_type", Value: string(apikey.ResourceRetriever)},
	}
}

// notInStatus returns the documents whose status is none of the wanted ones.
func notInStatus(w *apikey.KeyConditions) (out bson.A) {
	active := active(w.At)
	wants := func(s apikey.Status) bool { return slices.Contains(w.Status, s) }
	if wants(apikey.Active) && !wants(apikey.Expired) && !wants(apikey.Revoked) {
		return bson.A{except(active)}
	}
	if !wants(apikey.Active) {
		out = append(out, active)
	}
	if !wants(apikey.Expired) {
		out = append(out, append(slices.Clone(notRevoked), bson.E{Key: "$nor", Value: bson.A{active}}))
	}
	if !wants(apikey.Revoked) {
		out = append(out, except(notRevoked))
	}
	return out
}

// notRevoked selects the keys that are not revoked.
var notRevoked = storedAs(apikey.Active, apikey.Expired)

// storedAs selects the keys that are not revoked by their date and are stored with one of these statuses. A missing status is apikey.Active.
func storedAs(statuses ...apikey.Status) bson.D {
	return bson.D{
		{Key: "revoked_at", Value: is(nil)},
		{Key: "status", Value: bson.D{{Key: "$in", Value: append(texts(statuses), nil)}, notList}},
	}
}

// active selects the keys for which document.Key and apikey.Key.StatusAt(at) give apikey.Active. A key with an
// unreadable field among these is not active.
func active(at time.Time) bson.D {
	return append(storedAs(apikey.Active),
		bson.E{Key: "expires_at", Value: bson.D{notList}},
		bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "expires_at", Value: nil}},
			bson.D{{Key: "expires_at", Value: bson.D{
				{Key: "$gt", Value: date(at)},
				{Key: "$lte", Value: date(document.MaxTime)},
			}}},
		}},
	)
}

// ofTypes returns the alternatives that select keys of these types.
func ofTypes(types []apikey.Type) bson.A {
	values := bson.A{}
	var unreadable bool
	for _, t := range types {
		if t == apikey.UnreadableType {
			unreadable = true
			continue
		}
		values = append(values, string(t))
		if t == apikey.UnknownType {
			values = append(values, "")
		}
		if t == apikey.Standard {
			values = append(values, nil)
		}
	}
	alternatives := bson.A{bson.D{{Key: "key_type", Value: bson.D{{Key: "$in", Value: values}, notList}}}}
	if unreadable {
		alternatives = append(alternatives,
			bson.D{{Key: "key_type", Value: aList}},
			bson.D{{Key: "key_type", Value: bson.D{{Key: "$ne", Value: nil}, {Key: "$not", Value: bson.D{{Key: "$type", Value: int32(bson.TypeString)}}}}}},
		)
	}
	return alternatives
}

// found returns the alternatives that select the keys which the search finds.
func found(s *apikey.Search) bson.A {
	var pattern strings.Builder
	for _, r := range s.Text() {
		cases := apikey.Cases(r)
		switch {
		case r == 0:
			pattern.WriteString(`\x00`) // a pattern must not contain the character itself
		case len(cases) == 1:
			pattern.WriteString(regexp.QuoteMeta(string(cases)))
		default: // only letters have several
			pattern.WriteString("[" + string(cases) + "]")
		}
	}
	var alternatives bson.A
	for _, field := range []string{"name", "description", "key_prefix"} {
		alternatives = append(alternatives, bson.D{{Key: field, Value: bson.D{{Key: "$regex", Value: pattern.String()}, notList}}})
	}
	if s.Hash() != "" {
		alternatives = append(alternatives, bson.D{{Key: "key_hash", Value: is(s.Hash())}})
	}
	if s.Prefix() != "" {
		alternatives = append(alternatives, bson.D{{Key: "key_prefix", Value: is(s.Prefix())}})
	}
	return alternatives
}

// within is the condition that a field has a date of the period which RFC 3339 can write.
func within(p apikey.Period) bson.D {
	first, last := datesOf(p)
	return bson.D{{Key: "$gte", Value: first}, {Key: "$lte", Value: last}, notList}
}

// datesOf returns the first and the last date of the period which RFC 3339 can write.
func datesOf(p apikey.Period) (first, last bson.DateTime) {
	first, last = date(document.MinTime), date(document.MaxTime)
	if p.From != nil {
		first = max(first, firstDate(*p.From))
	}
	if p.Until != nil {
		last = min(last, firstDate(*p.Until)-1)
	}
	return first, last
}

// firstDate returns the first date that is not before the instant. Dates have milliseconds.
func firstDate(t time.Time) bson.DateTime {
	d := date(t)
	if d.Time().Before(t) {
		d++
	}
	return d
}

func not(operator string, value any) bson.D {
	return bson.D{{Key: "$not", Value: bson.D{{Key: operator, Value: value}}}}
}

func date(t time.Time) bson.DateTime { return bson.NewDateTimeFromTime(t) }
