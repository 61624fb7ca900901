package agents_test

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkQuietStreams measures what a stream holds on to while nothing happens
// in its session: with the client's end of the connection, which is in this
// process too.
func BenchmarkQuietStreams(b *testing.B) {
	w := newWorld(b)
	id := w.story()
	for b.Loop() {
		const streams = 1000
		before := inUse()
		conns := make([]net.Conn, streams)
		for i := range conns {
			conns[i] = openStream(b, w, id)
		}
		b.ReportMetric(float64(inUse()-before)/streams, "B/stream")
		for _, c := range conns {
			c.Close()
		}
		for open := true; open; {
			open = !strings.Contains(w.do("GET", "/metrics", "").body, "stayd_http_open_streams 0")
		}
	}
}

func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// openStream returns once the stream has begun.
func openStream(b *testing.B, w *world, id string) net.Conn {
	b.Helper()
	host := strings.TrimPrefix(w.url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /v1/agents/sessions/%s/events HTTP/1.1\r\nHost: %s\r\n\r\n", id, host)
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		b.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 512)
	for !bytes.Contains(got, []byte("id: ")) {
		n, err := conn.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	return conn
}

// BenchmarkReplay reads a session's events from its log.
func BenchmarkReplay(b *testing.B) {
	w := newWorld(b)
	id := w.story()
	for b.Loop() {
		w.replay(id)
	}
}
