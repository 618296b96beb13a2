// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strings"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/cniapi"
)

// maxArgs bounds CNI_ARGS, in bytes: Kubernetes passes about 200.
const maxArgs = 4096

var (
	// containerID is the pattern of the CNI specification 1.1, section 2.
	containerID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,199}$`)
	// dnsName is the form of Kubernetes' names (RFC 1123), which end up in logs.
	dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.\-]{0,251}[a-z0-9])?$`)
)

// config is the part of the network configuration that the agent reads.
type config struct {
	Name       string `json:"name"`
	PrevResult *struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	} `json:"prevResult"`
	RuntimeConfig struct {
		PortMappings []portMapping `json:"portMappings"`
	} `json:"runtimeConfig"`
	ValidAttachments []struct {
		ContainerID string `json:"containerID"`
		IfName      string `json:"ifname"`
	} `json:"cni.dev/valid-attachments"`
}

// call is a decoded and validated request.
type call struct {
	attachment endpoint.Attachment
	previous   []netip.Addr // CHECK: the addresses of prevResult
	valid      map[endpoint.Key]bool
}

// decode validates a request. Its errors are *cniapi.Error and say which
// parameter is wrong and what it should be.
func decode(req *cniapi.Request) (call, error) {
	var c call
	if req.Version != cniapi.Version {
		return c, cniapi.Errorf(cniapi.CodeVersion, "the plugin speaks version %d of the agent's protocol, this agent version %d: "+
			"the fairlead-cni binary of this node is of another release; restart the node's fairlead-agent pod, which installs its own",
			req.Version, cniapi.Version)
	}
	var conf config
	if err := json.Unmarshal(req.Config, &conf); err != nil {
		return c, cniapi.Errorf(cniapi.CodeDecode, "the network configuration cannot be decoded: %v", err)
	}
	c.attachment.Network = conf.Name
	switch req.Command {
	case cniapi.CommandStatus:
		return c, nil
	case cniapi.CommandGC:
		if conf.Name == "" {
			return c, cniapi.Errorf(cniapi.CodeInvalidConfig, "GC needs the network's name in field \"name\" of the configuration")
		}
		c.valid = map[endpoint.Key]bool{}
		for _, v := range conf.ValidAttachments {
			c.valid[endpoint.Key{ContainerID: v.ContainerID, IfName: v.IfName}] = true
		}
		return c, nil
	case cniapi.CommandAdd, cniapi.CommandDel, cniapi.CommandCheck:
	default:
		return c, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_COMMAND is %q, which this agent does not know", req.Command)
	}

	if !containerID.MatchString(req.ContainerID) {
		return c, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_CONTAINERID is %.100q, want letters, digits, and ._- (at most 200)", req.ContainerID)
	}
	if !validIfName(req.IfName) {
		return c, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_IFNAME is %.100q, want an interface name of at most 15 characters without / : or white space", req.IfName)
	}
	c.attachment.Key = endpoint.Key{ContainerID: req.ContainerID, IfName: req.IfName}
	if req.Command == cniapi.CommandDel {
		return c, nil // a DEL succeeds whatever else it carries
	}
	pod, err := decodeArgs(req.Args)
	if err != nil {
		return c, err
	}
	if !strings.HasPrefix(req.Netns, "/") {
		return c, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_NETNS is %.200q, want the absolute path of a network namespace", req.Netns)
	}
	c.attachment.Pod, c.attachment.Netns = pod, req.Netns
	if c.attachment.Ports, err = decodePorts(conf.RuntimeConfig.PortMappings); err != nil {
		return c, err
	}
	if req.Command == cniapi.CommandCheck {
		if conf.PrevResult == nil {
			return c, cniapi.Errorf(cniapi.CodeInvalidConfig, "CHECK needs the result of ADD in field \"prevResult\" of the configuration")
		}
		for _, ip := range conf.PrevResult.IPs {
			c.previous = append(c.previous, ip.Address.Addr().Unmap())
		}
	}
	return c, nil
}

// decodeArgs reads CNI_ARGS: KEY=VALUE pairs, separated by semicolons. Keys that
// it does not know are passed over, as every Kubernetes runtime asks (IgnoreUnknown=1).
func decodeArgs(args string) (endpoint.Pod, error) {
	var pod endpoint.Pod
	if args == "" {
		return pod, nil
	}
	if len(args) > maxArgs {
		return pod, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_ARGS has %d bytes, more than %d", len(args), maxArgs)
	}
	for pair := range strings.SplitSeq(args, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return pod, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_ARGS has %.100q, want KEY=VALUE pairs separated by ;", pair)
		}
		field := map[string]*string{
			"K8S_POD_NAMESPACE": &pod.Namespace,
			"K8S_POD_NAME":      &pod.Name,
			"K8S_POD_UID":       &pod.UID,
		}[key]
		if field == nil {
			continue
		}
		if !dnsName.MatchString(value) {
			return pod, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_ARGS has %s=%.100q, want a Kubernetes name", key, value)
		}
		*field = value
	}
	if (pod.Name == "") != (pod.Namespace == "") {
		return pod, cniapi.Errorf(cniapi.CodeInvalidEnvironment, "CNI_ARGS has only one of K8S_POD_NAMESPACE and K8S_POD_NAME, want both or neither")
	}
	return pod, nil
}

// validIfName applies the kernel's rule (dev_valid_name).
func validIfName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r\x00")
}
