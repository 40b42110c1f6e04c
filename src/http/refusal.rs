//! A refused call of the live side as a problem, alike over Socket.IO and SSE.
//!
//! Not here: who refuses (`engine::live`).

use super::problem::{Kind, Problem};
use crate::engine::live::{Refusal, Wrong, WrongKind};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(wrong) => invalid(&wrong),
            Refusal::StoreAway => Problem::new(
                Kind::StoreUnavailable,
                "not every room is held in memory, and the store does not answer",
            )
            .retry(),
            Refusal::Busy => Problem::new(Kind::LiveBusy, "the call was not taken in").retry(),
            Refusal::Full => {
                Problem::new(Kind::LiveBusy, "this instance has as many live clients as it takes").retry()
            }
            Refusal::NotIn(room) => {
                let detail = format!("{room:?}: the client is in no such room of a stream");
                Problem::new(Kind::Conflict, "pages are of rooms one is in").field(
                    "room",
                    detail,
                    "Subscribe to the stream's room first.",
                )
            }
            Refusal::Outrun => {
                Problem::new(Kind::LiveBusy, "the stream changed faster than it could be read").retry()
            }
            Refusal::Stopping => Problem::new(Kind::Stopping, "the call was not carried out").retry(),
            Refusal::Internal => Problem::new(Kind::Internal, "the call was not carried out"),
        }
    }
}

/// Unknown rooms alone are "not found"; with anything else wrong the call is a bad one.
fn invalid(wrong: &[Wrong]) -> Problem {
    let unknown = !wrong.is_empty() && wrong.iter().all(|wrong| wrong.kind == WrongKind::Unknown);
    let (kind, detail) = match unknown {
        true => (Kind::NoRoom, "not every room is there; nothing was subscribed to"),
        false => (Kind::InvalidParameter, "parts of the call are wrong; nothing of it was carried out"),
    };
    wrong.iter().fold(Problem::new(kind, detail), |problem, wrong| {
        problem.field(&wrong.field, &wrong.detail, remedy(wrong.kind))
    })
}

fn remedy(kind: WrongKind) -> &'static str {
    match kind {
        WrongKind::Unknown => "/api/streams lists every stream.",
        WrongKind::Malformed => "Rooms are STREAM, STREAM/KEY or STREAM:NAME; positions are those we gave.",
    }
}

/// A call whose argument cannot be read.
pub fn malformed(what: &'static str, cause: &str) -> Problem {
    Problem::new(Kind::InvalidParameter, "the call's argument is not understood").field("data", cause, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(kind: WrongKind) -> Wrong {
        Wrong { field: "rooms[1]".into(), detail: "\"nope/a\": there is no stream \"nope\"".into(), kind }
    }

    #[test]
    fn a_refused_call_names_the_room_and_the_remedy() {
        let json = Problem::from(Refusal::Invalid(vec![wrong(WrongKind::Unknown)])).json();
        assert!(
            json.contains("\"status\":404") && json.contains("rooms[1]") && json.contains("nope/a"),
            "{json}"
        );
        let both = vec![wrong(WrongKind::Unknown), wrong(WrongKind::Malformed)];
        assert!(Problem::from(Refusal::Invalid(both)).json().contains("\"status\":400"));
    }

    #[test]
    fn what_passes_by_itself_says_when_to_come_back() {
        for refusal in [Refusal::StoreAway, Refusal::Busy, Refusal::Full, Refusal::Outrun, Refusal::Stopping]
        {
            let json = Problem::from(refusal).json();
            assert!(json.contains("\"status\":503") && json.contains("\"retry_ms\""), "{json}");
        }
    }
}
