package mongodbtest

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// Without this, a driver that gets a topologyVersion waits for the next one, and a proxy that stops waits for the
// driver: ten seconds in every test on a server newer than 4.4.
func TestTopologyVersionIsNotPassedOn(t *testing.T) {
	hello := bson.D{
		{Key: "isWritablePrimary", Value: true},
		{Key: topologyVersion, Value: bson.D{{Key: "processId", Value: bson.NewObjectID()}, {Key: "counter", Value: int64(6)}}},
		{Key: "ok", Value: 1.0},
	}
	want, err := bson.Marshal(bson.D{hello[0], hello[2]})
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []uint32{opMsg, opQuery} {
		question := make([]byte, headerSize)
		binary.LittleEndian.PutUint32(question[4:], 42)
		binary.LittleEndian.PutUint32(question[opCodeAt:], code)
		for _, checked := range []bool{false, true} {
			given := answer(question, hello)
			if checked {
				if code != opMsg {
					continue
				}
				given = slices.Concat(given, []byte{1, 2, 3, 4})
				given[headerSize] |= 1
				binary.LittleEndian.PutUint32(given, uint32(len(given)))
			}
			got, err := withoutTopologyVersion(given)
			if err != nil {
				t.Fatal(err)
			}
			expected := answer(question, hello[:1])
			expected = slices.Concat(expected[:len(expected)-len(docOf(t, hello[:1]))], want)
			binary.LittleEndian.PutUint32(expected, uint32(len(expected)))
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Errorf("opcode %d, with a checksum %t: (-want +got)\n%s", code, checked, diff)
			}
		}
	}
	other := answer(make([]byte, headerSize), bson.D{{Key: "ok", Value: 1.0}})
	if got, err := withoutTopologyVersion(other); err != nil || !slices.Equal(got, other) {
		t.Errorf("another answer: %v, %v", got, err)
	}
}

func docOf(t *testing.T, d bson.D) []byte {
	t.Helper()
	doc, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
