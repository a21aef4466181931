//go:build node

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// startDNS serves the names of Services, as CoreDNS does in a cluster: SERVICE.NAMESPACE.svc
// and the same with the cluster's domain. It knows no other name, and UDP only.
func (c *cluster) startDNS(ctx context.Context) error {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", net.JoinHostPort(nodeIP, "53"))
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer, err := c.resolve(ctx, buffer[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return nil
}

// resolve returns the answer to a question.
func (c *cluster) resolve(ctx context.Context, question []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(question); err != nil {
		return nil, err
	}
	if len(message.Questions) != 1 {
		return nil, errors.New("not one question")
	}
	asked := message.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true, RecursionDesired: message.RecursionDesired},
		Questions: message.Questions,
	}
	ip, found := c.clusterIP(ctx, asked.Name.String())
	switch {
	case !found:
		answer.RCode = dnsmessage.RCodeNameError
	case asked.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: ip.As4()},
		}}
	}
	return answer.Pack()
}

// clusterIP returns the address of the Service that has the name.
func (c *cluster) clusterIP(ctx context.Context, name string) (ip netip.Addr, found bool) {
	labels := strings.Split(strings.TrimSuffix(strings.TrimSuffix(name, "."), "."+clusterDomain), ".")
	if len(labels) != 3 || labels[2] != "svc" {
		return ip, false
	}
	service := &corev1.Service{}
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: labels[1], Name: labels[0]}, service); err != nil {
		return ip, false
	}
	ip, err := netip.ParseAddr(service.Spec.ClusterIP)
	return ip, err == nil
}
