//! Bounds-checked access to a packet.

/// The packet ends before what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// A cursor that each header step advances. It never yields a byte past the packet's end.
#[derive(Clone, Copy)]
pub(crate) struct Cursor {
    position: usize,
    end: usize,
}

impl Cursor {
    /// A cursor over the readable bytes from address `start` up to address `end`.
    ///
    /// # Safety
    ///
    /// `start <= end`, `start` is even, and the bytes between the two stay readable and unchanged
    /// for as long as this cursor, its copies and the headers it yields are used.
    #[inline(always)]
    pub(crate) unsafe fn new(start: usize, end: usize) -> Self {
        Self {
            position: start,
            end,
        }
    }

    /// The next `T`, which is left behind.
    #[inline(always)]
    pub(crate) fn take<T: Header>(&mut self) -> Result<&'static T, Truncated> {
        let start = self.position;
        self.skip(size_of::<T>())?;
        let header = start as *const T;
        // SAFETY: `skip` found `size_of::<T>()` bytes before the end, `Header` promises that
        // any bytes at an even address are a `T`, and `new`'s caller that they stay readable.
        Ok(unsafe { &*header })
    }

    /// Leaves `len` bytes behind, an even number.
    #[inline(always)]
    pub(crate) fn skip(&mut self, len: usize) -> Result<(), Truncated> {
        let next = self.position + len;
        if next > self.end {
            return Err(Truncated);
        }
        self.position = next;
        Ok(())
    }

    /// How many bytes are left.
    #[inline(always)]
    pub(crate) fn remaining(&self) -> usize {
        self.end - self.position
    }
}

/// A header that can be read at any even address, which is where headers lie: each before it
/// has an even length. The compiler would read every byte by itself if it did not know.
///
/// # Safety
///
/// The type has alignment 2, an even size, and every bit pattern is valid for it: only `u8` and
/// arrays of it, so that multi-byte fields are read by accessors that name their byte order.
pub(crate) unsafe trait Header {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs `test` with a cursor over all of `bytes`. It must not hand a header out.
    pub(crate) fn over<T>(bytes: &[u8], test: impl FnOnce(Cursor) -> T) -> T {
        let words: Vec<_> = bytes
            .chunks(2)
            .map(|two| u16::from_ne_bytes([two[0], two.get(1).copied().unwrap_or_default()]))
            .collect();
        // An address without provenance is all that the kernel hands the program, too.
        let start = words.as_ptr().expose_provenance();
        // SAFETY: the bytes are those of `words`, which lies at an even address until `test` is
        // over.
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
    fn nothing_is_taken_from_nothing() {
        over(&[], |mut cursor| {
            assert_eq!(cursor.remaining(), 0);
            assert_eq!(cursor.take::<Two>().err(), Some(Truncated));
        });
    }
}
