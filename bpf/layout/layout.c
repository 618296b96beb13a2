/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Carries the shared types into BTF, from which their Go side is generated. */
#include "layout.h"

const struct endpoint *emit_endpoint __attribute__((unused));
const struct range_key *emit_range_key __attribute__((unused));
const struct range *emit_range __attribute__((unused));
const struct peer *emit_peer __attribute__((unused));
const struct path *emit_path __attribute__((unused));
const struct connection *emit_connection __attribute__((unused));
const struct state *emit_state __attribute__((unused));
const struct flow *emit_flow __attribute__((unused));
const struct flow_note *emit_flow_note __attribute__((unused));
const struct counter *emit_counter __attribute__((unused));
const enum layout_version *emit_layout_version __attribute__((unused));
const enum range_flag *emit_range_flag __attribute__((unused));
const enum path_kind *emit_path_kind __attribute__((unused));
const enum path_flag *emit_path_flag __attribute__((unused));
const enum connection_flag *emit_connection_flag __attribute__((unused));
const enum flow_event *emit_flow_event __attribute__((unused));
const enum hook *emit_hook __attribute__((unused));
const enum reason *emit_reason __attribute__((unused));
const struct frontend_key *emit_frontend_key __attribute__((unused));
const struct frontend *emit_frontend __attribute__((unused));
const struct pool *emit_pool __attribute__((unused));
const struct backend *emit_backend __attribute__((unused));
const struct affinity_key *emit_affinity_key __attribute__((unused));
const struct affinity *emit_affinity __attribute__((unused));
const struct source_range_key *emit_source_range_key __attribute__((unused));
const struct source_range *emit_source_range __attribute__((unused));
const struct node_address *emit_node_address __attribute__((unused));
const struct socket_origin *emit_socket_origin __attribute__((unused));
const struct datagram_key *emit_datagram_key __attribute__((unused));
const struct datagram_origin *emit_datagram_origin __attribute__((unused));
const struct gone_key *emit_gone_key __attribute__((unused));
const struct translation_key *emit_translation_key __attribute__((unused));
const struct translation *emit_translation __attribute__((unused));
const struct fragment_key *emit_fragment_key __attribute__((unused));
const struct fragment *emit_fragment __attribute__((unused));
const enum frontend_flag *emit_frontend_flag __attribute__((unused));
const enum backend_flag *emit_backend_flag __attribute__((unused));
const enum translation_flag *emit_translation_flag __attribute__((unused));
