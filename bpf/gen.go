// SPDX-License-Identifier: Apache-2.0

package bpf

//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -type address -type endpoint -type range_key -type range -type peer -type flow -type flow_note -type path -type connection -type state -type counter -type frontend_key -type frontend -type pool -type backend -type affinity_key -type affinity -type source_range_key -type source_range -type node_address -type socket_origin -type datagram_key -type datagram_origin -type gone_key -type translation_key -type translation -type fragment_key -type fragment -type class -type policy_key -type policy -type port_key -type verdict -type drop_event -type connection_verdict -type direction -type frontend_flag -type backend_flag -type translation_flag -type layout_version -type range_flag -type path_kind -type path_flag -type connection_flag -type flow_event -type hook -type reason layout layout/layout.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types FromPod cni/from_pod.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types ToPod cni/to_pod.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types FromOverlay cni/from_overlay.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types ToOverlay cni/to_overlay.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types FromUplink cni/from_uplink.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types ToUplink cni/to_uplink.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types Sock cni/sock.c -- -Iinclude
//go:generate go tool bpf2go -cc clang-19 -target bpfel -cflags "-O2 -g -Wall -Werror -mcpu=v3" -no-global-types SockEnd cni/sock_end.c -- -Iinclude
