//! A chunked body means the same however it is cut, and what it meant reads back from its own encoding.
#![no_main]

use headgate::wire::h1::chunk::{
    CHUNK_END, ChunkError, ChunkLimits, Decoder, Piece, put_last, put_size,
};
use libfuzzer_sys::fuzz_target;

/// Data, trailers, and whether the body ended.
type Decoded = Result<(Vec<u8>, Vec<u8>, bool), ChunkError>;

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, bytes.len().max(1));
    for step in [1, 2, 3, 7] {
        assert_eq!(decode(bytes, step), whole, "in parts of {step}");
    }
    let Ok((data, trailers, true)) = whole else { return };
    let mut again = Vec::new();
    if !data.is_empty() {
        put_size(&mut again, data.len());
        again.extend_from_slice(&data);
        again.extend_from_slice(CHUNK_END);
    }
    put_last(&mut again, &trailers);
    // A trailer gains a space after its colon, so that the longest may pass their limit.
    let expected = Ok((data, trailers, true));
    let got = decode(&again, again.len());
    assert!(got == expected || got == Err(ChunkError::TrailersTooLong));
});

fn decode(bytes: &[u8], step: usize) -> Decoded {
    let mut decoder = Decoder::new(ChunkLimits::default());
    let (mut data, mut ended) = (Vec::new(), false);
    for part in bytes.chunks(step) {
        let mut rest = part;
        while !rest.is_empty() && !ended {
            match decoder.step(rest)? {
                Piece::More => rest = &[],
                Piece::Data(range) => {
                    data.extend_from_slice(&rest[range.clone()]);
                    rest = &rest[range.end..];
                }
                Piece::End { .. } => ended = true,
            }
        }
    }
    Ok((data, decoder.trailers().to_vec(), ended))
}
