//! What a filter may see of one request, in one buffer that is used again for every request of a core.

/// Facts of a request; names of headers are compared without case. Filled by the proxy with what was granted, read by the
/// guest through imported functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// All texts one after the other.
    text: Vec<u8>,
    /// End of each fact in `text`, in the order of [`Fact`]; absent ones are marked.
    spans: [Option<(u32, u32)>; FACTS],
    /// Name and value of the granted headers.
    headers: Vec<((u32, u32), (u32, u32))>,
    /// By the host's clock.
    pub now_ms: u64,
}

const FACTS: usize = 8;

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

impl Facts {
    /// Ready for the next request; keeps its room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.headers.clear();
        self.spans = [None; FACTS];
        self.now_ms = 0;
    }

    /// Sets a fact.
    pub fn set(&mut self, fact: Fact, value: &[u8]) {
        let span = self.push(value);
        if let Some(place) = self.spans.get_mut(fact as usize) {
            *place = Some(span);
        }
    }

    /// Adds one header line that was granted.
    pub fn add_header(&mut self, name: &[u8], value: &[u8]) {
        let name = self.push(name);
        let value = self.push(value);
        self.headers.push((name, value));
    }

    /// A fact.
    pub fn get(&self, fact: Fact) -> Option<&[u8]> {
        self.spans.get(fact as usize).copied().flatten().map(|it| self.slice(it))
    }

    /// All values of one header, in order.
    pub fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(|it| self.slice(it.0).eq_ignore_ascii_case(name.as_bytes()))
            .map(|it| self.slice(it.1))
    }

    fn push(&mut self, value: &[u8]) -> (u32, u32) {
        let at = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let from = at(self.text.len());
        self.text.extend_from_slice(value);
        (from, at(self.text.len()))
    }

    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        self.text.get(from as usize..to as usize).unwrap_or_default()
    }
}
