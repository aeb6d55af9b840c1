//! What a filter may see of one request, in one buffer that is used again for every request of a core.

/// Facts of a request; names of headers are compared without case. Filled by the proxy with what was granted, read by the
/// guest through imported functions. Nothing is allocated once the buffers have their size.
///
/// Several filters of a route share one `Facts`: each header line knows which of them may read it, and [`Facts::show_to`]
/// says who reads now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// All texts one after the other.
    text: Vec<u8>,
    /// Where each fact is in `text`, in the order of [`Fact`].
    spans: [Option<(u32, u32)>; FACTS],
    headers: Vec<Header>,
    /// Who reads now.
    reader: Readers,
    /// By the host's clock.
    pub now_ms: u64,
}

const FACTS: usize = 8;

/// One header line, as places in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    name: (u32, u32),
    value: (u32, u32),
    readers: Readers,
}

/// Which filters of a route may read a header line: one bit for each place in the route's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readers(u64);

impl Readers {
    pub const ALL: Self = Self(u64::MAX);
    pub const NONE: Self = Self(0);
    /// How many filters can be told apart.
    pub const MOST: usize = 64;

    /// The filter at this place alone. There are 64 places; a filter beyond reads no headers.
    pub fn only(place: usize) -> Self {
        u32::try_from(place).ok().and_then(|it| 1_u64.checked_shl(it)).map_or(Self::NONE, Self)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A fact that every filter may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fact {
    Method,
    Path,
    Query,
    Authority,
    Client,
    Route,
    Id,
    KeyName,
}

impl Fact {
    /// All of them, in order.
    pub const ALL: [Self; FACTS] = [
        Self::Method,
        Self::Path,
        Self::Query,
        Self::Authority,
        Self::Client,
        Self::Route,
        Self::Id,
        Self::KeyName,
    ];
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            spans: [None; FACTS],
            headers: Vec::new(),
            reader: Readers::ALL,
            now_ms: 0,
        }
    }
}

impl Facts {
    /// Ready for the next request; keeps its room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.headers.clear();
        self.spans = [None; FACTS];
        self.reader = Readers::ALL;
        self.now_ms = 0;
    }

    /// Sets a fact.
    pub fn set(&mut self, fact: Fact, value: &[u8]) {
        self.set_by(fact, |text| text.extend_from_slice(value));
    }

    /// Sets a fact by what `write` appends to the text.
    pub fn set_by(&mut self, fact: Fact, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.text.len();
        write(&mut self.text);
        let span = Some((at(from), at(self.text.len())));
        if let Some(place) = self.spans.get_mut(fact as usize) {
            *place = span;
        }
    }

    /// Adds one header line that every filter may read.
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) {
        self.add_header_for(Readers::ALL, name, value);
    }

    /// Adds one header line that these filters may read.
    pub fn add_header_for(&mut self, readers: Readers, name: &[u8], value: &[u8]) {
        let from = self.text.len();
        let between = from + name.len();
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        let name = (at(from), at(between));
        self.headers.push(Header { name, value: (at(between), at(self.text.len())), readers });
    }

    /// From now on the filter at this place of the route's list reads.
    pub fn show_to(&mut self, place: usize) {
        self.reader = Readers::only(place);
    }

    /// A fact.
    pub fn get(&self, fact: Fact) -> Option<&[u8]> {
        self.spans.get(fact as usize).copied().flatten().map(|it| self.slice(it))
    }

    /// All values of one header that the reader may see, in order.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let length = at(name.len());
        self.headers
            .iter()
            .filter(move |it| it.name.1 - it.name.0 == length && it.readers.meets(self.reader))
            .filter(|it| self.slice(it.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|it| self.slice(it.value))
    }

    /// All header lines that the reader may see: name as sent, and value.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers
            .iter()
            .filter(|it| it.readers.meets(self.reader))
            .map(|it| (self.slice(it.name), self.slice(it.value)))
    }

    /// A copy of what the reader sees and nothing else, which every reader may see: for the record.
    #[must_use]
    pub fn as_seen(&self) -> Self {
        let mut copy = Self { now_ms: self.now_ms, ..Self::default() };
        for fact in Fact::ALL {
            if let Some(value) = self.get(fact) {
                copy.set(fact, value);
            }
        }
        for (name, value) in self.headers() {
            copy.add_header(name, value);
        }
        copy
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }
}

/// A head is far shorter than 4 GiB; one that is not has no facts behind that.
fn at(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::{Fact, Facts, Readers};

    fn values(facts: &Facts, name: &str) -> Vec<String> {
        facts.header(name).map(|it| String::from_utf8_lossy(it).into_owned()).collect()
    }

    #[test]
    fn facts_are_what_was_set_and_gone_after_clear() {
        let mut facts = Facts::default();
        for (number, fact) in (0_u8..).zip(Fact::ALL) {
            assert_eq!(facts.get(fact), None);
            facts.set(fact, &[b'a', number]);
        }
        facts.set(Fact::Query, b"");
        for (number, fact) in (0_u8..).zip(Fact::ALL) {
            let expected = if fact == Fact::Query { vec![] } else { vec![b'a', number] };
            assert_eq!(facts.get(fact), Some(expected.as_slice()));
        }
        facts.now_ms = 7;
        facts.add_header(b"A", b"b");
        facts.clear();
        assert_eq!(facts, Facts::default());
    }

    #[test]
    fn headers_are_found_in_any_case_and_in_order() {
        let mut facts = Facts::default();
        facts.add_header(b"X-Tenant", b"one");
        facts.add_header(b"X-Tenan", b"short");
        facts.add_header(b"x-tenant", b"");
        facts.add_header(b"X-TENANT", b"three");
        assert_eq!(values(&facts, "x-Tenant"), ["one", "", "three"]);
        assert_eq!(values(&facts, "x-tenants"), [""; 0]);
        assert_eq!(values(&facts, ""), [""; 0]);
    }

    #[test]
    fn each_filter_sees_its_own_headers() {
        let mut facts = Facts::default();
        facts.add_header_for(Readers::only(0), b"a", b"first");
        facts.add_header_for(Readers::only(1), b"a", b"second");
        facts.add_header_for(Readers::only(0).and(Readers::only(1)), b"a", b"both");
        facts.add_header_for(Readers::NONE, b"a", b"nobody");
        for (place, expected) in
            [(0, vec!["first", "both"]), (1, vec!["second", "both"]), (2, vec![]), (64, vec![])]
        {
            facts.show_to(place);
            assert_eq!(values(&facts, "A"), expected, "{place}");
            let copy = facts.as_seen();
            assert_eq!(values(&copy, "a"), expected, "{place}");
            assert_eq!(copy.headers().count(), expected.len());
            let hidden = copy.text.windows(6).any(|it| it == b"nobody");
            assert!(!hidden, "a copy must not hold what its filter may not see");
        }
    }

    #[test]
    fn nothing_is_allocated_for_the_next_request() {
        let mut facts = Facts::default();
        let mut capacities = None;
        for _ in 0..3 {
            facts.clear();
            facts.set(Fact::Path, &[b'x'; 300]);
            (0..40).for_each(|_| facts.add_header(b"name", b"value"));
            let now = (facts.text.capacity(), facts.headers.capacity());
            assert_eq!(*capacities.get_or_insert(now), now);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_of_pairs(
            lines in prop::collection::vec(("[aAbB]{0,2}", "[x-z]{0,3}", 0_usize..3), 0..12),
            name in "[aAbB]{0,2}",
            reader in 0_usize..3,
        ) {
            let mut facts = Facts::default();
            for (name, value, place) in &lines {
                facts.add_header_for(Readers::only(*place), name.as_bytes(), value.as_bytes());
            }
            facts.show_to(reader);
            let expected: Vec<String> = lines
                .iter()
                .filter(|it| it.0.eq_ignore_ascii_case(&name) && it.2 == reader)
                .map(|it| it.1.clone())
                .collect();
            prop_assert_eq!(values(&facts, &name), expected);
        }
    }
}
