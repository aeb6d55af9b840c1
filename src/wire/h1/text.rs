//! Appends fields, numbers and addresses to a head under way.

use std::io::Write;
use std::net::IpAddr;

use crate::model::push_ipv4;

/// `name: value` with its line end.
#[inline]
pub(super) fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A field whose value does not come from a checked head: control bytes are left out, so that it stays one line.
pub(super) fn put_field_text(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().filter(|it| !it.is_ascii_control()));
    out.extend_from_slice(b"\r\n");
}

/// A decimal number.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// An address without brackets.
pub(super) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => push_ipv4(out, ip),
        // A Vec takes every write.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{put_field_text, put_ip, put_number};

    #[test]
    fn numbers_and_addresses_read_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 255, 65_535, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(String::from_utf8(out).expect("ascii"), number.to_string());
        }
        for ip in ["0.0.0.0", "192.0.2.1", "255.255.255.255", "2001:db8::1", "::"] {
            let mut out = Vec::new();
            put_ip(&mut out, ip.parse().expect("address"));
            assert_eq!(String::from_utf8(out).expect("ascii"), ip);
        }
    }

    #[test]
    fn a_text_cannot_begin_a_new_line() {
        let mut out = Vec::new();
        put_field_text(&mut out, "X-A", "a\r\nX-B: b");
        assert_eq!(out, b"X-A: aX-B: b\r\n");
    }
}
