package mongodb

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

// fault is what happens to a command instead of reaching the server: the connection breaks off, or, with an answer,
// the server seems to give that.
type fault struct{ answer bson.D }

// refusing answers that the server will not, for the reason that the code tells.
func refusing(code int) *fault {
	return &fault{bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "refused by the test"}, {Key: "code", Value: int32(code)}}}
}

// proxy stands between a store and the tests' deployment.
type proxy struct {
	t      *testing.T
	addr   string
	target string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	rule     func(command string, doc bson.Raw) *fault
	wg       sync.WaitGroup
}

// proxied returns a proxy that does not listen yet, and the URI of the deployment through it.
func proxied(t *testing.T) (*proxy, string) {
	t.Helper()
	parsed, err := connstring.ParseAndValidate(testURI)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, addr: l.Addr().String(), target: parsed.Hosts[0], conns: map[net.Conn]bool{}}
	_ = l.Close()
	t.Cleanup(p.stop)

	uri := strings.Replace(testURI, strings.Join(parsed.RawHosts, ","), p.addr, 1)
	if strings.Contains(uri, "?") {
		return p, uri + "&directConnection=true"
	}
	return p, uri + "?directConnection=true"
}

// start begins to listen.
func (p *proxy) start() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
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

// stop refuses and breaks all connections, and returns when none is left.
func (p *proxy) stop() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
	}
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// on sets what happens to commands from now on; rule returns nil for those that pass.
func (p *proxy) on(rule func(command string, doc bson.Raw) *fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

func (p *proxy) track(c net.Conn) (untrack func()) {
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	return func() {
		_ = c.Close()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}
}

func (p *proxy) serve(client net.Conn) {
	defer p.track(client)()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.track(server)()
	p.wg.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	for {
		message := make([]byte, 16)
		if _, err := io.ReadFull(client, message); err != nil {
			return
		}
		message = append(message, make([]byte, binary.LittleEndian.Uint32(message)-16)...)
		if _, err := io.ReadFull(client, message[16:]); err != nil {
			return
		}
		if f := p.fault(message); f != nil {
			if f.answer == nil {
				return
			}
			if _, err := client.Write(answer(message, f.answer)); err != nil {
				return
			}
			continue
		}
		if _, err := server.Write(message); err != nil {
			return
		}
	}
}

// The messages of MongoDB's wire protocol, and where their parts lie.
const (
	opReply = 1
	opQuery = 2004 // drivers say their first hello with it
	opMsg   = 2013

	opCodeAt   = 12
	headerSize = 16
)

// fault is what the rule says about a message.
func (p *proxy) fault(message []byte) *fault {
	p.mu.Lock()
	rule := p.rule
	p.mu.Unlock()
	if rule == nil {
		return nil
	}
	at := headerSize + 4 + 1 // flags, kind of section
	if opCode(message) == opQuery {
		at = headerSize + 4 + bytes.IndexByte(message[headerSize+4:], 0) + 1 + 4 + 4 // flags, collection, skip, limit
	}
	length := binary.LittleEndian.Uint32(message[at:])
	command := bson.Raw(message[at : at+int(length)])
	return rule(command.Index(0).Key(), command)
}

func opCode(message []byte) uint32 { return binary.LittleEndian.Uint32(message[opCodeAt:]) }

// answer is a message with the document that replies to the message.
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
