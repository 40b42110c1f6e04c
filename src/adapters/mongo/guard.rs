//! The condition under which the server keeps what it holds: `Upsert::applies_to`, negated, as an expression.
//!
//! Invariant: the expression is one and the same for every statement but for five numbers, each eight bytes wide. So it is
//! written once for a batch, and each statement gets a copy with its numbers put in, which saves a third of the cost of
//! building an update.
//! Not here: what takes the place of what is not kept (`statements`).

use crate::ports::{StoreError, Upsert};
use bson::{DateTime, RawDocument, rawdoc};

/// Stand for the numbers until they are put in; nothing else of the expression looks like them.
const VERSION: i64 = 0x7AF1_E2D3_C4B5_A601;
const PARTITION: i64 = 0x7AF1_E2D3_C4B5_A602;
const EPOCH: i64 = 0x7AF1_E2D3_C4B5_A603;
const OFFSET: i64 = 0x7AF1_E2D3_C4B5_A604;
const TIME: i64 = 0x7AF1_E2D3_C4B5_A605;

#[derive(Debug)]
pub struct Guard {
    expression: Vec<u8>,
    /// Which number stands where; one may stand twice.
    places: Vec<(i64, usize)>,
}

impl Guard {
    /// Keep if the version is another one, or if what is stored is at or beyond ours: within one partition by position,
    /// across partitions by record time. The server compares positions as whole documents, field by field in their order.
    pub fn new() -> Self {
        let position = rawdoc! { "epoch": EPOCH, "partition": PARTITION, "offset": OFFSET };
        let expression = rawdoc! { "$or": [
            { "$ne": ["$version", VERSION] },
            { "$cond": [
                { "$eq": ["$position.partition", PARTITION] },
                { "$gte": ["$position", { "$literal": position }] },
                { "$gte": ["$time", DateTime::from_millis(TIME)] },
            ] },
        ] };
        let expression = expression.into_bytes();
        let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| i64::from_le_bytes(*bytes));
        let windows = expression.windows(size_of::<i64>()).enumerate();
        let places = windows
            .filter_map(|(at, bytes)| Some((number(bytes)?, at)))
            .filter(|(number, _)| [VERSION, PARTITION, EPOCH, OFFSET, TIME].contains(number))
            .collect();
        Guard { expression, places }
    }

    /// The expression for this upsert.
    pub fn of(&mut self, upsert: &Upsert) -> Result<&RawDocument, StoreError> {
        let unfit = || StoreError::Refused("a version or an offset is beyond 63 bits".into());
        let position = upsert.document.position;
        let version = i64::try_from(upsert.from_version).map_err(|_| unfit())?;
        let offset = i64::try_from(position.offset).map_err(|_| unfit())?;
        for (which, at) in &self.places {
            let number = match *which {
                VERSION => version,
                PARTITION => position.partition.into(),
                EPOCH => position.epoch.into(),
                OFFSET => offset,
                _ => upsert.document.updated_ms,
            };
            let place = self.expression.get_mut(*at..).and_then(<[u8]>::first_chunk_mut);
            *place.ok_or_else(unfit)? = number.to_le_bytes();
        }
        RawDocument::from_bytes(&self.expression).map_err(|_| unfit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_places() {
        let places = Guard::new().places;
        let of = |number| places.iter().filter(|(which, _)| *which == number).count();
        assert_eq!([VERSION, PARTITION, EPOCH, OFFSET, TIME].map(of), [1, 2, 1, 1, 1]);
    }
}
