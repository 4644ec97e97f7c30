#!/usr/bin/env bash
# quinn-udp 0.6.3 on Linux: preparing a socket for offload also forbids IP fragments.
#
# A good guess is that UdpSocketState::new asks the kernel for segmentation offload and leaves
# everything else as it is. In fact it also sets IP_MTU_DISCOVER to IP_PMTUDISC_PROBE, for IPv4
# and, where the host has it, IPv6. From then on the kernel cuts no datagram of this socket into
# IP fragments, so one that is longer than the path's MTU does not arrive, where it did before.
# A program that sends long datagrams has to find out what its paths carry, or to set the option
# back: `set_ip_mtu_discover` of rustix 1.1 does so.
#
# Seen (quinn-udp 0.6.3, rustix 1.1.6, Linux 6.18): "IPv4 before Want, after Probe",
# "IPv6 before Want, after Probe". Fails if that changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "probe"
version = "0.0.0"
edition = "2024"

[dependencies]
quinn-udp = { version = "=0.6.3", default-features = false }
rustix = { version = "=1.1.6", features = ["net"] }

[workspace]
TOML
cat > "$dir/src/main.rs" <<'RS'
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::net::sockopt::{ip_mtu_discover, ipv6_mtu_discover};
use std::net::UdpSocket;

fn four(socket: &UdpSocket) -> &'static str {
    match ip_mtu_discover(socket).expect("it can be asked") {
        Ipv4PathMtuDiscovery::WANT => "Want",
        Ipv4PathMtuDiscovery::PROBE => "Probe",
        _ => "another",
    }
}

fn six(socket: &UdpSocket) -> &'static str {
    match ipv6_mtu_discover(socket).expect("it can be asked") {
        Ipv6PathMtuDiscovery::WANT => "Want",
        Ipv6PathMtuDiscovery::PROBE => "Probe",
        _ => "another",
    }
}

fn main() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let before = four(&socket);
    quinn_udp::UdpSocketState::new((&socket).into()).expect("it is prepared");
    println!("IPv4 before {before}, after {}", four(&socket));
    let Ok(socket) = UdpSocket::bind("[::1]:0") else { return println!("IPv6 none") };
    let before = six(&socket);
    quinn_udp::UdpSocketState::new((&socket).into()).expect("it is prepared");
    println!("IPv6 before {before}, after {}", six(&socket));
}
RS
out=$(cd "$dir" && cargo run --quiet)
echo "$out"
grep -qx 'IPv4 before Want, after Probe' <<< "$out"
grep -qxE 'IPv6 (before Want, after Probe|none)' <<< "$out"
