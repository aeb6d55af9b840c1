//! stand-in
use crate::generation::Gate;
use crate::model::UnixMs;
use crate::proxy::reject::Reject;
use crate::semantics::forwarded::Client;
use crate::semantics::head::RequestHead;
use crate::wire::answer::Answer;
#[derive(Debug)]
pub struct Denied {
    pub reject: Reject,
    pub presented: bool,
    pub client: std::net::IpAddr,
}
pub fn answer(_g: &Gate, _h: &RequestHead<'_>, _c: &Client, _n: UnixMs) -> Result<Answer, Denied> {
    Err(Denied { reject: Reject::NoRoute, presented: false, client: _c.ip })
}
