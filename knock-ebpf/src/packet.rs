//! Bounds-checked access to packet data.

use core::ptr;

/// The packet ends before the requested data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// A read position in a packet. It never yields a byte past the end of the packet.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    position: usize,
    end: usize,
}

impl Cursor {
    /// A cursor over the readable bytes from address `start` to address `end`.
    ///
    /// # Safety
    ///
    /// `start <= end`, `start` is even, and the bytes between them stay readable and unchanged
    /// while this cursor, its copies and the headers from it are in use.
    #[inline(always)]
    pub(crate) unsafe fn new(start: usize, end: usize) -> Self {
        Self {
            position: start,
            end,
        }
    }

    /// The header at the cursor, which advances past it.
    #[inline(always)]
    pub(crate) fn take<T: Header>(&mut self) -> Result<&'static T, Truncated> {
        let start = self.position;
        self.skip(size_of::<T>())?;
        let header = start as *const T;
        // SAFETY: `skip` checked that `size_of::<T>()` bytes are left, `Header` guarantees that any
        // bytes at an even address are a valid `T`, and `new`'s caller that they stay readable.
        Ok(unsafe { &*header })
    }

    /// Advances by `len` bytes, which must be even.
    #[inline(always)]
    pub(crate) fn skip(&mut self, len: usize) -> Result<(), Truncated> {
        let next = self.position + len;
        if next > self.end {
            return Err(Truncated);
        }
        self.position = next;
        Ok(())
    }

    /// The header `header`, found again by its distance from the cursor. The verifier forgets how the
    /// parser has come to it, and checks what follows once, not for each number of tags, options and
    /// extension headers.
    #[inline(always)]
    pub(crate) fn again<T: Header>(mut self, header: &T) -> Result<&'static T, Truncated> {
        // More than all headers that the parser follows, and less than the verifier's limit for a
        // distance in a packet.
        const MOST: usize = 0x7fff;
        let distance = ptr::from_ref(header).addr() - self.position;
        self.skip(distance & MOST)?;
        self.take()
    }

    /// The number of bytes left.
    #[inline(always)]
    pub(crate) fn remaining(&self) -> usize {
        self.end - self.position
    }
}

/// A header that is valid at any even address. Headers are at even addresses because each header
/// before them has an even length; without this alignment the compiler would load single bytes.
///
/// # Safety
///
/// The type has alignment 2 and an even size, and every bit pattern is valid for it: it consists
/// only of `u8` and arrays of it. Accessors decode multi-byte fields and define their byte order.
pub(crate) unsafe trait Header {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs `test` with a cursor over all of `bytes`. The result must not contain a header.
    pub(crate) fn over<T>(bytes: &[u8], test: impl FnOnce(Cursor) -> T) -> T {
        let words: Vec<_> = bytes
            .chunks(2)
            .map(|two| u16::from_ne_bytes([two[0], two.get(1).copied().unwrap_or_default()]))
            .collect();
        // An address without provenance, like the one that the kernel passes to the program.
        let start = words.as_ptr().expose_provenance();
        // SAFETY: the bytes are those of `words`, which has an even address and lives until `test`
        // returns.
        test(unsafe { Cursor::new(start, start + bytes.len()) })
    }

    #[repr(C, align(2))]
    struct Two {
        bytes: [u8; 2],
    }

    // SAFETY: only `u8`, alignment 2.
    unsafe impl Header for Two {}

    #[test]
    fn takes_what_is_there_and_stops_at_the_end() {
        over(&[1, 2, 3, 4, 5], |mut cursor| {
            assert_eq!(cursor.take::<Two>().unwrap().bytes, [1, 2]);
            assert_eq!(cursor.take::<Two>().unwrap().bytes, [3, 4]);
            assert_eq!(cursor.remaining(), 1);
            assert_eq!(cursor.take::<Two>().err(), Some(Truncated));
            assert_eq!(cursor.remaining(), 1);
        });
    }

    #[test]
    fn skips_up_to_the_end_and_no_further() {
        over(&[1, 2, 3, 4], |mut cursor| {
            assert_eq!(cursor.skip(5), Err(Truncated));
            assert_eq!(cursor.remaining(), 4);
            assert_eq!(cursor.skip(2), Ok(()));
            assert_eq!(cursor.take::<Two>().unwrap().bytes, [3, 4]);
            assert_eq!(cursor.skip(0), Ok(()));
            assert_eq!(cursor.skip(1), Err(Truncated));
        });
    }

    #[test]
    fn finds_a_header_again() {
        over(&[1, 2, 3, 4, 5, 6], |cursor| {
            let mut other = cursor;
            assert_eq!(other.skip(2), Ok(()));
            let header = other.take::<Two>().unwrap();
            assert_eq!(cursor.again(header).unwrap().bytes, [3, 4]);
        });
    }

    #[test]
    fn an_empty_packet_has_no_header() {
        over(&[], |mut cursor| {
            assert_eq!(cursor.remaining(), 0);
            assert_eq!(cursor.take::<Two>().err(), Some(Truncated));
        });
    }
}
