//! Where we are heard: the interfaces that are up and can multicast, with their addresses. Asked of
//! the kernel when it says that something has changed. Point-to-point links are left alone, and so is
//! loopback, unless somebody switched multicast on for it.

use crate::net::limits::{MDNS_ADDRESSES, MDNS_LINKS};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use std::net::{IpAddr, Ipv6Addr};

/// An interface, and its addresses with the lengths of their networks' prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its addresses.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// Whether an address is one of its network.
    pub fn is_neighbour(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(ours, prefix)| match (ours, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*prefix).min(32)).unwrap_or(0);
                (u32::from(*a) ^ u32::from(b)) & mask == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*prefix).min(128)).unwrap_or(0);
                is_link_local(b) || (u128::from(*a) ^ u128::from(b)) & mask == 0
            }
            _ => false,
        })
    }
}

fn is_link_local(a: Ipv6Addr) -> bool {
    a.segments().first().is_some_and(|s| s & 0xffc0 == 0xfe80)
}

/// All of them, as they are now.
pub(super) fn interfaces() -> Vec<Interface> {
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING | InterfaceFlags::IFF_MULTICAST;
    let mut found: Vec<Interface> = Vec::new();
    for i in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        if !i.flags.contains(wanted) || i.flags.contains(InterfaceFlags::IFF_POINTOPOINT) {
            continue;
        }
        let (Some(address), Some(mask)) = (i.address, i.netmask) else { continue };
        let (address, prefix) = if let (Some(a), Some(m)) = (address.as_sockaddr_in(), mask.as_sockaddr_in())
        {
            (IpAddr::V4(a.ip()), u32::from(m.ip()).leading_ones())
        } else if let (Some(a), Some(m)) = (address.as_sockaddr_in6(), mask.as_sockaddr_in6()) {
            (IpAddr::V6(a.ip()), u128::from(m.ip()).leading_ones())
        } else {
            continue;
        };
        let Ok(index) = if_nametoindex(i.interface_name.split(':').next().unwrap_or_default()) else {
            continue;
        };
        let place = match found.iter().position(|f| f.index == index) {
            Some(place) => place,
            None if found.len() < MDNS_LINKS / 2 => {
                found.push(Interface { index, addresses: Vec::new() });
                found.len() - 1
            }
            None => continue,
        };
        if let Some(interface) = found.get_mut(place)
            && interface.addresses.len() < MDNS_ADDRESSES
        {
            let new = (address, prefix as u8);
            let at = interface.addresses.partition_point(|known| *known < new);
            interface.addresses.insert(at, new);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_our_network() {
        let one = |address: &str, prefix| Interface {
            index: 1,
            addresses: vec![(address.parse().unwrap(), prefix)],
        };
        let near = |i: &Interface, who: &str| i.is_neighbour(who.parse().unwrap());
        let v4 = one("192.168.1.9", 24);
        assert!(near(&v4, "192.168.1.200") && !near(&v4, "192.168.2.9") && !near(&v4, "fe80::1"));
        assert!(near(&one("10.0.0.1", 0), "1.2.3.4") && !near(&one("10.0.0.1", 32), "10.0.0.2"));
        let v6 = one("2001:db8::1", 64);
        assert!(near(&v6, "2001:db8::2") && near(&v6, "fe80::1") && !near(&v6, "2001:db9::1"));
        assert!(near(&one("::1", 128), "::1") && near(&one("::1", 0), "2001::"));
    }
}
