// Command paho publishes each line of its standard input with paho.mqtt.golang, QoS 1, and keeps nothing: the bare library,
// for comparison.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

func main() {
	server := flag.String("server", "", "`host:port`")
	topic := flag.String("topic", "", "`topic` to publish to")
	roots := flag.String("roots", "", "PEM `file`")
	certificate := flag.String("certificate", "", "PEM `file`")
	key := flag.String("key", "", "PEM `file`")
	window := flag.Int("window", 100, "messages in flight")
	flag.Parse()
	if err := run(*server, *topic, *roots, *certificate, *key, *window); err != nil {
		fmt.Fprintln(os.Stderr, "paho:", err)
		os.Exit(1)
	}
}

func run(server, topic, roots, certificate, key string, window int) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(roots)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	o := mqtt.NewClientOptions().AddBroker("ssl://" + server).SetClientID("paho").SetOrderMatters(false).
		SetTLSConfig(&tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool})
	client := mqtt.NewClient(o)
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		return token.Error()
	}
	defer client.Disconnect(100)
	return publish(client, topic, window)
}

// publish keeps up to window messages in flight.
func publish(client mqtt.Client, topic string, window int) error {
	flight := make([]mqtt.Token, 0, window)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if len(flight) == window {
			if flight[0].Wait(); flight[0].Error() != nil {
				return flight[0].Error()
			}
			flight = append(flight[:0], flight[1:]...)
		}
		flight = append(flight, client.Publish(topic, 1, false, append([]byte(nil), lines.Bytes()...)))
	}
	for _, token := range flight {
		if token.Wait(); token.Error() != nil {
			return token.Error()
		}
	}
	return lines.Err()
}
