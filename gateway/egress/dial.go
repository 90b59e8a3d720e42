// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// errAddress refuses a destination for the address that its name has.
var errAddress = errors.New("the host has an address that agents do not reach")

// errName means that a host has no address at all.
var errName = errors.New("the host has no address")

// maxAddresses bounds the answer to one name.
const maxAddresses = 32

// metadata are the services of cloud machines that hand out credentials. No configuration opens them.
var metadata = []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"),
	netip.MustParseAddr("169.254.170.23"), netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16")}

func (p *Proxy) newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            p.dial,
		TLSClientConfig:        &tls.Config{RootCAs: p.cfg.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    p.cfg.Limits.Dial,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    32,
		MaxConnsPerHost:        256,
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  p.cfg.Limits.Answer,
		MaxResponseHeaderBytes: headBytes,
	}
}

// dial connects to a host that the first gate let pass. Every address that the name has must be one that
// agents may reach: a name that has both kinds is no honest name. What was checked is what is dialled.
func (p *Proxy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Limits.Dial)
	defer cancel()
	host, ports, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(ports, 10, 16)
	if err != nil {
		return nil, err
	}
	found, err := p.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	private := p.cfg.Host(host).Private
	for i, a := range found {
		found[i] = a.Unmap().WithZone("")
		if err := p.reachable(found[i], uint16(port), private); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, a := range found {
		c, err := p.cfg.Dial(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)))
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (p *Proxy) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	_, literal, err := p.cfg.Canonical(host)
	if err != nil {
		return nil, err
	}
	if literal.IsValid() {
		return []netip.Addr{literal}, nil
	}
	found, err := p.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(found) == 0 || len(found) > maxAddresses {
		return nil, fmt.Errorf("%w: %d answers", errName, len(found))
	}
	return slices.Clone(found), nil
}

func (p *Proxy) reachable(a netip.Addr, port uint16, private bool) error {
	switch {
	case !a.IsValid() || slices.Contains(metadata, a) || a.IsUnspecified() || a.IsMulticast():
		return errAddress
	case !p.cfg.PrivateAddr(a):
		return nil
	case !private:
		return errAddress
	}
	for _, l := range p.cfg.Listeners { // behind them people decide
		if _, own, err := net.SplitHostPort(l); err == nil && own == strconv.Itoa(int(port)) {
			return errAddress
		}
	}
	return nil
}
