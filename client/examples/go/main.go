// A streaming proxy that asks quotad: for OpenAI's chat completions and responses, and Anthropic's messages.
//
//	proxy -quotad 127.0.0.1:7070 -upstream http://127.0.0.1:8000 -keys keys.json -fail-closed
//
// keys.json says who pays: {"sk-one": "acme/search"}. The upstream's own key is in $UPSTREAM_API_KEY; it may speak TLS
// (https://HOST/PREFIX). The proxy itself listens in plain HTTP, on loopback only: put it behind what ends TLS.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen")
	quotad := flag.String("quotad", "127.0.0.1:7070", "the node")
	ca := flag.String("quotad-ca", "", "PEM: the node speaks TLS")
	cert := flag.String("quotad-cert", "", "PEM: and asks for a certificate")
	key := flag.String("quotad-key", "", "PEM")
	vendor := flag.String("upstream", "", "where requests go: http[s]://HOST[:PORT][/PREFIX]")
	keys := flag.String("keys", "", "JSON file of API keys and their tenants")
	every := flag.Float64("extend-every", 2, "seconds between two extensions")
	checkTimeout := flag.Float64("check-timeout", 0.5, "seconds that a check may take")
	failOpen := flag.Bool("fail-open", false, "serve while quotad is away, report later")
	failClosed := flag.Bool("fail-closed", false, "answer 503 while quotad is away")
	flag.Parse()
	to := parseUpstream(*vendor)
	if to == nil || *failOpen == *failClosed {
		log.Fatal("give -upstream http[s]://HOST[:PORT][/PREFIX], and one of -fail-open and -fail-closed")
	}
	p := &proxy{
		quota:       must(newQuota(*quotad, tlsFiles{*ca, *cert, *key}, *failOpen, seconds(*checkTimeout))),
		upstream:    upstream{to, os.Getenv("UPSTREAM_API_KEY")},
		extendEvery: seconds(*every),
	}
	if err := json.Unmarshal(must(os.ReadFile(*keys)), &p.keys); err != nil {
		log.Fatal(err)
	}
	listener := must(net.Listen("tcp", *listen))
	fmt.Println("listening on", listener.Addr())
	server := &http.Server{Handler: p}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	go server.Serve(listener)
	<-stop.Done()
	server.Shutdown(context.Background()) // waits for the open answers
	p.reports.Wait()
}
