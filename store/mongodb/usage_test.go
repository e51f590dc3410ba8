package mongodb

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"retrieverkeys/apikey"
	"retrieverkeys/store/document"
	"retrieverkeys/store/mongodb/mongodbtest"
)

var march = apikey.DayOf(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))

// aDay returns a day of a key with these answers.
func aDay(id apikey.ID, allowed, refused int64) apikey.KeyDay {
	return apikey.KeyDay{InternalID: "int_1", ID: id, Day: march, Answers: apikey.Answers{Allowed: allowed, Refused: refused}}
}

func answersOf(t *testing.T, s *Store, ids ...apikey.ID) []apikey.KeyDay {
	t.Helper()
	days, err := s.AnswersOf(t.Context(), "int_1", ids, march, march+30)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(days, func(a, b apikey.KeyDay) int { return int(a.Allowed - b.Allowed) })
	return days
}

// A document whose counts cannot be read counts as 0, one whose day or key cannot be read does not count, and none of them fails the usage of
// others. Two documents of one day are both returned.
func TestOddUsage(t *testing.T) {
	s, _ := dropped(t, testURI)
	at := document.Midnight(march)
	for i, fields := range []bson.D{
		{{Key: "key_id", Value: "key_1"}, {Key: "day", Value: at}, {Key: "allowed", Value: int64(-3)}, {Key: "refused", Value: "7"}},
		{{Key: "key_id", Value: "key_1"}, {Key: "day", Value: at + 3_600_000}, {Key: "allowed", Value: 2.0}},
		{{Key: "key_id", Value: "key_1"}, {Key: "day", Value: document.Midnight(march + 1)}, {Key: "allowed", Value: int64(1) << 60}, {Key: "refused", Value: 1e300}},
		{{Key: "key_id", Value: "key_1"}, {Key: "day", Value: "2026-03-01"}, {Key: "allowed", Value: int32(99)}},
		{{Key: "key_id", Value: "key_1"}, {Key: "allowed", Value: int32(99)}},
		{{Key: "key_id", Value: "key_1"}, {Key: "day", Value: bson.A{at}}, {Key: "allowed", Value: int32(99)}},
		{{Key: "key_id", Value: bson.A{"key_1"}}, {Key: "day", Value: at}, {Key: "allowed", Value: int32(99)}},
	} {
		doc := append(bson.D{{Key: "_id", Value: int32(i)}, {Key: "internal_id", Value: "int_1"}}, fields...)
		if _, err := s.primary.Collection(document.Usage).InsertOne(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	want := []apikey.KeyDay{
		aDay("key_1", 0, 0), aDay("key_1", 2, 0),
		{InternalID: "int_1", ID: "key_1", Day: march + 1, Answers: apikey.Answers{Allowed: apikey.MaxCount, Refused: apikey.MaxCount}},
	}
	if diff := cmp.Diff(want, answersOf(t, s, "key_1")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A number cannot be added to a string. Those answers are lost and not retried, and all others of the command are added.
func TestAnswersThatCannotBeAddedAreLostAlone(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	eventually(t, s)
	days := []apikey.KeyDay{aDay("key_1", 1, 1), aDay("key_text", 1, 1), aDay("key_busy", 1, 1)}
	failed := func(index, code int32) bson.D {
		return bson.D{{Key: "index", Value: index}, {Key: "code", Value: code}, {Key: "errmsg", Value: "no"}}
	}
	const typeMismatch, writeConflict = 14, 112
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command != "update" {
			return nil
		}
		return &mongodbtest.Fault{Answer: bson.D{
			{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(1)}, {Key: "nModified", Value: int32(1)},
			{Key: "writeErrors", Value: bson.A{failed(1, typeMismatch), failed(2, writeConflict)}},
		}}
	})
	not, err := s.AddAnswers(t.Context(), days)
	if err == nil || !cmp.Equal(not, apikey.NotAdded{Left: days[2:], Lost: days[1:2]}) {
		t.Errorf("got %+v, %v", not, err)
	}
}

// breaking has the rule and the passage of a proxy that passes updates on, and breaks the connection instead of passing the first one's reply.
type breaking struct {
	updates atomic.Int64
	broken  atomic.Bool
}

func (b *breaking) rule(command string, _ bson.Raw) *mongodbtest.Fault {
	if command == "update" {
		b.updates.Add(1)
	}
	return nil
}

func (b *breaking) pass(client net.Conn, answer []byte) error {
	ofUpdate := bytes.Contains(answer, []byte("nModified")) // others may pass at the same time
	if ofUpdate && b.broken.CompareAndSwap(false, true) {
		return errors.New("the connection breaks")
	}
	_, err := client.Write(answer)
	return err
}

// A server that does not number writes may have done the update whose reply is lost. It must not be sent again, by the driver or by the next flush:
// otherwise the answers would count twice.
func TestAnswersOfUnknownOutcomeAreNotAddedAgain(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri+"&retryWrites=false")
	eventually(t, s)
	var b breaking
	p.On(b.rule)
	p.Pass(b.pass)
	days := []apikey.KeyDay{aDay("key_1", 3, 1), aDay("key_2", 5, 0)}
	not, err := s.AddAnswers(t.Context(), days)
	if apikey.Classify(err).Code != apikey.Unavailable || !cmp.Equal(not, apikey.NotAdded{Lost: days}) || b.updates.Load() != 1 {
		t.Errorf("got %+v after %d updates, %v", not, b.updates.Load(), err)
	}
	if diff := cmp.Diff(days, answersOf(t, s, "key_1", "key_2")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A replica set numbers writes, so the driver repeats the update and the server does it once. Otherwise each election would cost the answers of a
// flush, or count them twice.
func TestAnswersAreAddedOnceThroughABrokenConnection(t *testing.T) {
	var b breaking
	members, uri := mongodbtest.NewReplicaSet(t, testURI, func() int { return 0 }, func(_ int, command string, doc bson.Raw) *mongodbtest.Fault {
		return b.rule(command, doc)
	})
	members[0].Pass(b.pass)
	members[0].Start()
	s, _ := dropped(t, uri)
	eventually(t, s)
	days := []apikey.KeyDay{aDay("key_1", 3, 1)}
	if not, err := s.AddAnswers(t.Context(), days); err != nil || len(not.Left)+len(not.Lost) > 0 || b.updates.Load() != 2 {
		t.Errorf("got %+v after %d updates, %v", not, b.updates.Load(), err)
	}
	if diff := cmp.Diff(days, answersOf(t, s, "key_1")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Answers that were not sent, because no server could be found or the user has no right, can be added later.
func TestAnswersThatWereNotSentAreLeft(t *testing.T) {
	days := []apikey.KeyDay{aDay("key_1", 3, 1)}
	p, uri := mongodbtest.NewProxy(t, testURI)
	s, _ := opened(t, uri+"&serverSelectionTimeoutMS=100")
	// In this order: with a connection to a server that has stopped, an update may have been sent.
	for _, c := range []struct {
		name    string
		prepare func()
	}{
		{"no server", func() {}},
		{"no right", func() {
			p.Start()
			eventually(t, s)
			p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
				if command == "update" {
					return mongodbtest.Refusing(codeUnauthorized)
				}
				return nil
			})
		}},
	} {
		c.prepare()
		not, err := s.AddAnswers(t.Context(), days)
		if apikey.Classify(err).Code != apikey.Unavailable || !cmp.Equal(not, apikey.NotAdded{Left: days}) {
			t.Errorf("%s: got %+v, %v", c.name, not, err)
		}
	}
}

// Two processes can store the first answers about a key on a day at the same time. The one that is later adds to the document of the other.
func TestFirstAnswersOfADayAreRepeated(t *testing.T) {
	p, uri := mongodbtest.NewProxy(t, testURI)
	p.Start()
	s, _ := dropped(t, uri)
	eventually(t, s)
	var updates atomic.Int64
	clash := &mongodbtest.Fault{Answer: bson.D{
		{Key: "ok", Value: 1.0}, {Key: "n", Value: int32(0)}, {Key: "nModified", Value: int32(0)},
		{Key: "writeErrors", Value: bson.A{bson.D{{Key: "index", Value: int32(0)}, {Key: "code", Value: int32(codeDuplicateKey)}, {Key: "errmsg", Value: "duplicate"}}}},
	}}
	always := false
	p.On(func(command string, _ bson.Raw) *mongodbtest.Fault {
		if command == "update" && (updates.Add(1) == 1 || always) {
			return clash
		}
		return nil
	})
	days := []apikey.KeyDay{aDay("key_1", 3, 1)}
	if not, err := s.AddAnswers(t.Context(), days); err != nil || len(not.Left)+len(not.Lost) > 0 || updates.Load() != 2 {
		t.Errorf("got %+v after %d updates, %v", not, updates.Load(), err)
	}
	always = true
	if not, err := s.AddAnswers(t.Context(), days); err == nil || !cmp.Equal(not, apikey.NotAdded{Left: days}) || updates.Load() != 2+addAttempts {
		t.Errorf("if it never ends: got %+v after %d updates, %v", not, updates.Load(), err)
	}
	if diff := cmp.Diff(days, answersOf(t, s, "key_1")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
