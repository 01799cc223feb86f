//! Frames on their way out, sent with as few system calls and copies as possible.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use ottla_wire::{EncodedFrame, Part};

/// Parts of frames in the order of sending; a spliced part is sent from where it lies.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Outgoing {
    /// Adds a frame; a splice's token is the index of its bytes in `spliced`.
    pub(crate) fn push(&mut self, frame: &EncodedFrame, spliced: &[Bytes]) {
        for part in frame.parts() {
            let bytes = match part {
                Part::Bytes(bytes) => bytes,
                Part::Splice(splice) => {
                    let bytes = spliced[splice.token].clone();
                    assert_eq!(bytes.len(), splice.length, "a splice is as long as its bytes");
                    bytes
                }
            };
            if !bytes.is_empty() {
                self.remaining += bytes.len();
                self.parts.push_back(bytes);
            }
        }
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.parts.len());
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "only what is there can be sent");
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.parts.front_mut() else { return };
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_leave_in_order_however_they_are_cut() {
        let frame = EncodedFrame {
            bytes: Bytes::from_static(b"abef"),
            splices: vec![ottla_wire::Splice { position: 2, length: 2, token: 0 }],
        };
        for step in 1..=6 {
            let mut outgoing = Outgoing::default();
            outgoing.push(&frame, &[Bytes::from_static(b"cd")]);
            outgoing.push(&EncodedFrame { bytes: Bytes::from_static(b"gh"), splices: Vec::new() }, &[]);
            let mut sent = Vec::new();
            while outgoing.has_remaining() {
                let count = step.min(outgoing.chunk().len());
                sent.extend_from_slice(&outgoing.chunk()[..count]);
                outgoing.advance(count);
            }
            assert_eq!(sent, b"abcdefgh");
        }
    }
}
