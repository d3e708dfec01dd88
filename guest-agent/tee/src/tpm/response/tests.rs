#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

const PLAIN: Shape = Shape { handle: false, sessions: 0 };
const AUTHORISED: Shape = Shape { handle: true, sessions: 1 };

fn response(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len().saturating_add(HEADER_BYTES)).unwrap();
    [&tag.to_be_bytes()[..], &size.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

/// Handle, parameter size, two bytes of parameters, an empty session.
const AUTHORISED_BODY: [u8; 15] = [0x80, 0, 0, 1, 0, 0, 0, 2, 0xAA, 0xBB, 0, 0, 1, 0, 0];

#[test]
fn whole_responses_are_taken_apart() {
    let plain = Response::parse(&response(NO_SESSIONS, 0, &[1, 2, 3]), PLAIN).unwrap();
    assert_eq!((plain.handle, plain.parameters.as_slice()), (None, &[1, 2, 3][..]));
    let authorised = Response::parse(&response(SESSIONS, 0, &AUTHORISED_BODY), AUTHORISED).unwrap();
    assert_eq!((authorised.handle, authorised.parameters.as_slice()), (Some(0x8000_0001), &[0xAA, 0xBB][..]));
}

#[test]
fn an_error_is_a_header_alone() {
    let code = ResponseCode(0x99D);
    assert_eq!(Response::parse(&response(NO_SESSIONS, 0x99D, &[]), AUTHORISED).unwrap().code, code);
    let trailing = Malformed::Trailing { offset: 10 };
    assert_eq!(Response::parse(&response(NO_SESSIONS, 0x99D, &[0]), PLAIN).unwrap_err(), trailing);
    let tag = Malformed::Field { field: "tag", value: SESSIONS.into() };
    assert_eq!(Response::parse(&response(SESSIONS, 0x99D, &[]), PLAIN).unwrap_err(), tag);
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    let whole = response(SESSIONS, 0, &AUTHORISED_BODY);
    for cut in 0..whole.len() {
        assert!(Response::parse(&whole[..cut], AUTHORISED).is_err(), "cut to {cut}");
        // The same with a header that knows of the cut.
        if let Some(body) = AUTHORISED_BODY.get(..cut.saturating_sub(HEADER_BYTES)).filter(|body| body.len() < 15) {
            assert!(Response::parse(&response(SESSIONS, 0, body), AUTHORISED).is_err());
        }
    }
    let longer = [AUTHORISED_BODY.as_slice(), &[0]].concat();
    let trailing = Malformed::Trailing { offset: 25 };
    assert_eq!(Response::parse(&response(SESSIONS, 0, &longer), AUTHORISED).unwrap_err(), trailing);
}

#[test]
fn a_response_of_another_shape_is_refused() {
    assert!(Response::parse(&response(NO_SESSIONS, 0, &AUTHORISED_BODY), AUTHORISED).is_err());
    assert!(Response::parse(&response(SESSIONS, 0, &AUTHORISED_BODY), PLAIN).is_err());
    let two = Shape { handle: true, sessions: 2 };
    assert!(Response::parse(&response(SESSIONS, 0, &AUTHORISED_BODY), two).is_err());
}

#[test]
fn debug_output_has_no_parameters() {
    let plain = Response::parse(&response(NO_SESSIONS, 0, b"secret"), PLAIN).unwrap();
    assert_eq!(format!("{plain:?}"), "Response { code: ResponseCode(0), handle: None, .. }");
}
