package mongodbtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// Fault replaces the server's answer to a command. Without an Answer, the connection breaks. With one, the client gets
// that answer.
type Fault struct{ Answer bson.D }

// Refusing returns a Fault that answers with the error code.
func Refusing(code int) *Fault {
	return &Fault{bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "refused by the test"}, {Key: "code", Value: int32(code)}}}
}

// Rule decides the fault of a command; nil passes the command to the server.
type Rule func(command string, doc bson.Raw) *Fault

// Passage passes a server's answer to the client, in its own way and time. If it returns an error, the connection
// breaks.
type Passage func(client net.Conn, answer []byte) error

// Proxy is a TCP proxy between a store and a deployment. In front of FerretDB v1, it runs commands that change
// documents one at a time, and answers commands that a driver repeats: FerretDB v1 loses concurrent changes, and does
// not recognize repeated ones.
type Proxy struct {
	Addr     string       // the address that it listens on
	Commands atomic.Int64 // the number of commands, except hello

	t      testing.TB
	target string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	rule     Rule
	passage  Passage
	wg       sync.WaitGroup
	writes   *writes // nil for other deployments
}

// writes keeps the replies to writes that a driver can repeat, by session and number.
type writes struct {
	sync.Mutex
	replies map[string][]byte
}

// NewProxy returns a proxy of the deployment that does not listen yet, and the deployment's URI through it. The proxy
// stops when the test ends.
func NewProxy(t testing.TB, deployment string) (p *Proxy, uri string) {
	t.Helper()
	parsed, err := connstring.ParseAndValidate(deployment)
	if err != nil {
		t.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &Proxy{t: t, Addr: l.Addr().String(), target: parsed.Hosts[0], conns: map[net.Conn]bool{}}
	if IsFerretDB() {
		p.writes = &writes{replies: map[string][]byte{}}
	}
	_ = l.Close()
	t.Cleanup(p.Stop)

	uri = strings.Replace(deployment, strings.Join(parsed.RawHosts, ","), p.Addr, 1)
	if strings.Contains(uri, "?") {
		return p, uri + "&directConnection=true"
	}
	return p, strings.TrimSuffix(uri, "/") + "/?directConnection=true"
}

// NewReplicaSet returns two proxies of one deployment that look like members of a replica set, and its URI. Neither
// listens yet. primary returns the index of the current primary. The other member refuses all changes.
func NewReplicaSet(t testing.TB, deployment string, primary func() int, rule func(member int, command string, doc bson.Raw) *Fault) (members [2]*Proxy, uri string) {
	t.Helper()
	for i := range members {
		members[i], _ = NewProxy(t, deployment)
	}
	members[1].writes = members[0].writes
	for i, p := range members {
		p.On(func(command string, doc bson.Raw) *Fault {
			isPrimary := primary() == i
			if isHello(command) {
				return &Fault{bson.D{
					{Key: "ok", Value: 1.0}, {Key: "helloOk", Value: true}, {Key: "maxWireVersion", Value: int32(21)}, {Key: "minWireVersion", Value: int32(0)},
					{Key: "setName", Value: "rs"}, {Key: "hosts", Value: bson.A{members[0].Addr, members[1].Addr}}, {Key: "me", Value: p.Addr},
					{Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "isWritablePrimary", Value: isPrimary}, {Key: "ismaster", Value: isPrimary}, {Key: "secondary", Value: !isPrimary},
					{Key: "maxBsonObjectSize", Value: int32(16 << 20)}, {Key: "maxMessageSizeBytes", Value: int32(48_000_000)}, {Key: "maxWriteBatchSize", Value: int32(100_000)},
				}}
			}
			if changes[command] && !isPrimary {
				return Refusing(10107) // NotWritablePrimary
			}
			return rule(i, command, doc)
		})
	}
	return members, "mongodb://" + members[0].Addr + "," + members[1].Addr + "/?replicaSet=rs"
}

func isHello(command string) bool {
	return strings.EqualFold(command, "hello") || strings.EqualFold(command, "isMaster")
}

// changes are the commands that change documents.
var changes = map[string]bool{"insert": true, "update": true, "findAndModify": true, "delete": true}

// Start makes the proxy listen.
func (p *Proxy) Start() {
	p.t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(p.t.Context(), "tcp", p.Addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(client) })
		}
	})
}

// Stop stops listening, breaks all connections, and returns when none is left.
func (p *Proxy) Stop() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Cut()
	p.wg.Wait()
}

// Cut breaks all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// On sets the rule for commands from now on. A command waits while its rule runs.
func (p *Proxy) On(rule Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// Pass sets how answers are passed on from now on; nil passes them at once.
func (p *Proxy) Pass(passage Passage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passage = passage
}

func (p *Proxy) track(c net.Conn) (untrack func()) {
	p.mu.Lock()
	p.conns[c] = true
	if p.listener == nil { // it arrived while the proxy stopped
		_ = c.Close()
	}
	p.mu.Unlock()
	return func() {
		_ = c.Close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.track(client)()
	server, err := net.Dial("tcp", p.target) //nolint:noctx // of tests
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // the server answers even if the client does not read it
	for {
		message, err := readMessage(client)
		if err != nil {
			return
		}
		p.mu.Lock()
		rule := p.rule
		p.mu.Unlock()
		name, doc := command(message)
		if !isHello(name) {
			p.Commands.Add(1)
		}
		var fault *Fault
		if rule != nil {
			fault = rule(name, doc)
		}
		var reply []byte
		switch {
		case fault == nil:
			reply, err = p.ask(server, message, name, doc)
		case fault.Answer == nil:
			return
		default:
			reply = answer(message, fault.Answer)
		}
		if err != nil || p.pass(client, reply) != nil {
			return
		}
	}
}

// ask sends a message to the server and returns the answer.
func (p *Proxy) ask(server net.Conn, message []byte, name string, doc bson.Raw) ([]byte, error) {
	number, repeatable := doc.Lookup("txnNumber").AsInt64OK()
	id := fmt.Sprintf("%x %d", doc.Lookup("lsid").Value, number)
	takesTurns := changes[name] && p.writes != nil
	if takesTurns {
		p.writes.Lock()
		defer p.writes.Unlock()
		if reply := p.writes.replies[id]; repeatable && reply != nil {
			return slices.Concat(reply[:8], message[4:8], reply[12:]), nil
		}
	}
	if _, err := server.Write(message); err != nil {
		return nil, err
	}
	reply, err := readMessage(server)
	if err != nil {
		return nil, err
	}
	if reply, err = withoutTopologyVersion(reply); err != nil {
		return nil, err
	}
	if takesTurns && repeatable {
		p.writes.replies[id] = reply
	}
	return reply, nil
}

// topologyVersion is the field by which servers since 4.4 announce that drivers can wait for changes. A driver then has
// a hello in progress that is not answered for ten seconds. Stop would wait for it, and meanwhile the driver would not
// see what a rule says.
const topologyVersion = "topologyVersion"

// withoutTopologyVersion returns a server's answer without the field topologyVersion.
func withoutTopologyVersion(reply []byte) ([]byte, error) {
	at := headerSize + 4 + 1 // flags, kind of section
	if opCode(reply) == opReply {
		at = headerSize + 4 + 8 + 4 + 4 // flags, cursor, from, number
	}
	if len(reply) < at+4 || !bytes.Contains(reply, []byte(topologyVersion)) {
		return reply, nil
	}
	end := at + int(binary.LittleEndian.Uint32(reply[at:]))
	if end > len(reply) {
		return nil, fmt.Errorf("an answer of %d bytes has a document that ends at %d", len(reply), end)
	}
	elements, err := bson.Raw(reply[at:end]).Elements()
	if err != nil {
		return nil, err
	}
	var kept bson.D
	for _, e := range elements {
		if e.Key() != topologyVersion {
			kept = append(kept, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	doc, err := bson.Marshal(kept)
	if err != nil {
		return nil, err
	}
	rest := reply[end:]
	if checksum := uint32(1); opCode(reply) == opMsg && binary.LittleEndian.Uint32(reply[headerSize:])&checksum != 0 {
		rest = rest[:len(rest)-4] // it is for the original answer
		reply = slices.Clone(reply)
		binary.LittleEndian.PutUint32(reply[headerSize:], binary.LittleEndian.Uint32(reply[headerSize:])&^checksum)
	}
	changed := slices.Concat(reply[:at], doc, rest)
	binary.LittleEndian.PutUint32(changed, uint32(len(changed)))
	return changed, nil
}

func (p *Proxy) pass(client net.Conn, reply []byte) error {
	p.mu.Lock()
	passage := p.passage
	p.mu.Unlock()
	if passage != nil {
		return passage(client, reply)
	}
	_, err := client.Write(reply)
	return err
}

// Operation codes and offsets of MongoDB's wire protocol.
const (
	opReply = 1
	opQuery = 2004 // drivers send their first hello with it
	opMsg   = 2013

	opCodeAt   = 12
	headerSize = 16
)

func readMessage(from io.Reader) ([]byte, error) {
	message := make([]byte, headerSize)
	if _, err := io.ReadFull(from, message); err != nil {
		return nil, err
	}
	message = append(message, make([]byte, binary.LittleEndian.Uint32(message)-headerSize)...)
	_, err := io.ReadFull(from, message[headerSize:])
	return message, err
}

// command returns the command in a message. Documents that drivers send in a section of their own are added to the
// command as a list.
func command(message []byte) (name string, doc bson.Raw) {
	at := headerSize + 4 + 1 // flags, kind of section
	if opCode(message) == opQuery {
		at = headerSize + 4 + bytes.IndexByte(message[headerSize+4:], 0) + 1 + 4 + 4 // flags, collection, skip, limit
	}
	doc = bson.Raw(message[at : at+length(message[at:])])
	name = doc.Index(0).Key()
	const sequence = 1 // a kind of section: its length, the list's name, documents
	if rest := message[at+len(doc):]; opCode(message) == opMsg && len(rest) > 1+4 && rest[0] == sequence {
		rest = rest[1 : 1+length(rest[1:])]
		list, rest, _ := bytes.Cut(rest[4:], []byte{0})
		var documents bson.A
		for len(rest) > 0 {
			documents = append(documents, bson.Raw(rest[:length(rest)]))
			rest = rest[length(rest):]
		}
		end := doc[:len(doc)-1]
		one, err := bson.Marshal(bson.D{{Key: string(list), Value: documents}})
		if err != nil {
			panic(err)
		}
		doc = slices.Concat(end, bson.Raw(one)[4:])
		binary.LittleEndian.PutUint32(doc, uint32(len(doc)))
	}
	return name, doc
}

// length returns the length at the beginning of a document.
func length(b []byte) int { return int(binary.LittleEndian.Uint32(b)) }

func opCode(message []byte) uint32 { return binary.LittleEndian.Uint32(message[opCodeAt:]) }

// answer returns a reply to the message with the document.
func answer(message []byte, d bson.D) []byte {
	doc, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	code, between := uint32(opMsg), make([]byte, 4+1) // flags, kind of section
	if opCode(message) == opQuery {
		code, between = opReply, make([]byte, 4+8+4+4) // flags, cursor, from, number
		between[16] = 1
	}
	reply := make([]byte, headerSize)
	binary.LittleEndian.PutUint32(reply, uint32(headerSize+len(between)+len(doc)))
	copy(reply[8:], message[4:8])
	binary.LittleEndian.PutUint32(reply[opCodeAt:], code)
	return slices.Concat(reply, between, doc)
}
