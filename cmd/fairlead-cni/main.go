// SPDX-License-Identifier: Apache-2.0

// Command fairlead-cni is the CNI plugin: the container runtime executes it for
// every pod. It hands the request to the node's agent and prints the answer in
// the version that the runtime asked for. It links the standard library and
// CNI's skeleton only, because its start is part of every pod's start.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/version"
)

// The agent bounds its own work; these bound an agent that does not answer at all.
const (
	dialTimeout   = 2 * time.Second
	answerTimeout = 60 * time.Second
)

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    add,
		Del:    forward(cniapi.CommandDel),
		Check:  forward(cniapi.CommandCheck),
		GC:     forward(cniapi.CommandGC),
		Status: status,
	}, cniversion.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), "Fairlead CNI "+version.Version)
}

// conf is the part of the network configuration that the plugin itself reads.
type conf struct {
	CNIVersion string `json:"cniVersion"`
	Socket     string `json:"socket"`
}

func add(args *skel.CmdArgs) error {
	var c conf
	if err := json.Unmarshal(args.StdinData, &c); err != nil {
		return types.NewError(types.ErrDecodingFailure, "the network configuration on stdin is not valid JSON", err.Error())
	}
	res, err := ask(cniapi.CommandAdd, args)
	if err != nil {
		return err
	}
	if res == nil {
		return types.NewError(cniapi.CodeInternal, "the agent answered ADD without a result", "")
	}
	return types.PrintResult(convert(res), c.CNIVersion)
}

func forward(command string) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		_, err := ask(command, args)
		return err
	}
}

// status says whether pods can be connected. While no agent can say so, a network that is
// in force is an answer, too.
func status(args *skel.CmdArgs) error {
	_, err := ask(cniapi.CommandStatus, args)
	var refusal *types.Error
	if !errors.As(err, &refusal) || refusal.Code != cniapi.CodeNotAvailable {
		return err
	}
	var c conf
	if json.Unmarshal(args.StdinData, &c) != nil || c.Socket == "" {
		c.Socket = cniapi.DefaultSocket
	}
	if _, missing := os.Stat(cniapi.InForce(c.Socket)); missing != nil {
		return err
	}
	return nil
}

// ask sends the request to the agent and returns its answer.
func ask(command string, args *skel.CmdArgs) (*cniapi.Result, error) {
	var c conf
	if err := json.Unmarshal(args.StdinData, &c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "the network configuration on stdin is not valid JSON", err.Error())
	}
	if c.Socket == "" {
		c.Socket = cniapi.DefaultSocket
	}
	conn, err := net.DialTimeout("unix", c.Socket, dialTimeout)
	if err != nil {
		return nil, unreachable(command, c.Socket, err)
	}
	defer conn.Close() //nolint:errcheck // the process ends here
	_ = conn.SetDeadline(time.Now().Add(answerTimeout))

	req := cniapi.Request{
		Version: cniapi.Version, Command: command,
		ContainerID: args.ContainerID, Netns: args.Netns, IfName: args.IfName, Args: args.Args,
		Config: args.StdinData,
	}
	if err := cniapi.Write(conn, &req); err != nil {
		return nil, unreachable(command, c.Socket, err)
	}
	var resp cniapi.Response
	if err := cniapi.Read(conn, &resp); err != nil {
		return nil, unreachable(command, c.Socket, fmt.Errorf("no answer: %w", err))
	}
	if e := resp.Error; e != nil {
		return nil, types.NewError(e.Code, e.Msg, e.Details)
	}
	return resp.Result, nil
}

// unreachable is the error for an agent that cannot be asked. STATUS has a code
// of its own for that; for the others the runtime is told to try again.
func unreachable(command, socket string, err error) error {
	code := uint(cniapi.CodeTryAgainLater)
	if command == cniapi.CommandStatus {
		code = cniapi.CodeNotAvailable
	}
	return types.NewError(code, "the Fairlead agent of this node does not answer at "+socket+
		"; see the fairlead-agent pod of this node in namespace fairlead-system", err.Error())
}

// convert turns the agent's result into CNI's, at its newest version; the
// library converts it down to the version that was asked for.
func convert(res *cniapi.Result) *current.Result {
	out := &current.Result{CNIVersion: current.ImplementedSpecVersion}
	for _, i := range res.Interfaces {
		out.Interfaces = append(out.Interfaces, &current.Interface{Name: i.Name, Mac: i.MAC, Mtu: i.MTU, Sandbox: i.Netns})
	}
	for _, a := range res.Addresses {
		out.IPs = append(out.IPs, &current.IPConfig{
			Interface: current.Int(0),
			Address:   ipNet(a.Prefix.Addr().AsSlice(), a.Prefix.Bits()),
			Gateway:   a.Gateway.AsSlice(),
		})
	}
	for _, r := range res.Routes {
		out.Routes = append(out.Routes, &types.Route{Dst: ipNet(r.Addr().AsSlice(), r.Bits())})
	}
	return out
}

func ipNet(ip net.IP, bits int) net.IPNet {
	return net.IPNet{IP: ip, Mask: net.CIDRMask(bits, len(ip)*8)}
}
