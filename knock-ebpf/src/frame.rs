//! The frame that a program is called with, for XDP and for traffic control (tc).

use core::{ffi::c_void, hint::black_box};

use aya_ebpf::{
    EbpfContext,
    bindings::bpf_hdr_start_off,
    helpers::{bpf_skb_load_bytes_relative, bpf_xdp_get_buff_len},
    programs::{TcContext, XdpContext},
};
use knock_common::settings::Settings;

use crate::{
    body::Body,
    packet::{Cursor, Truncated},
};

/// A received frame.
pub(crate) trait Frame: EbpfContext {
    /// The bytes of the first buffer, which hold all headers. They are asked for anew each time, so
    /// that the verifier connects nothing that it knows about one cursor with another.
    fn cursor(&self) -> Cursor;

    /// The index of the interface that has received the frame.
    fn ifindex(&self) -> u32;

    /// The number of bytes that are not in the first buffer.
    fn further(&self) -> usize;
}

/// A frame of an XDP program, which accepts frames in several buffers (Linux 5.18) or not.
pub(crate) struct Xdp<const BUFFERS: bool>(pub(crate) XdpContext);

/// A frame of a tc program.
pub(crate) struct Skb(TcContext);

impl Skb {
    /// The number of bytes that the headers of a packet may need. A packet with more of them is
    /// truncated for the parser, so that a gate refuses it.
    const HEADERS: u32 = 256;
    /// The same, and a knock datagram behind them.
    #[expect(clippy::cast_possible_truncation, reason = "it is 144")]
    const HEADERS_AND_BODY: u32 = Self::HEADERS + size_of::<Body>() as u32;

    /// Makes what is read readable: a driver may leave it outside the first buffer.
    #[inline(always)]
    pub(crate) fn new(ctx: TcContext, settings: &Settings) -> Self {
        let most = if settings.has_datagrams() {
            Self::HEADERS_AND_BODY
        } else {
            Self::HEADERS
        };
        let wanted = ctx.len().min(most);
        if ctx.data() + (wanted as usize) > ctx.data_end() {
            // If memory is short, this fails, and the parser finds a truncated packet.
            let _ = ctx.skb.pull_data(wanted);
        }
        Self(ctx)
    }

    /// The packet behind the link-layer header. An IPIP, SIT or GRE tunnel leaves the headers of the
    /// tunnel in front of it before Linux 5.14 (net-next merge "net: reset MAC header consistently
    /// across L3 virtual devices"), and the kernel does not tell how long they are.
    ///
    /// # Errors
    ///
    /// Returns [`Truncated`] if they are longer than 256 bytes or have an odd length.
    #[inline(always)]
    pub(crate) fn packet(&self) -> Result<Cursor, Truncated> {
        let mut cursor = self.cursor();
        let last = cursor.remaining().wrapping_sub(size_of::<u16>());
        if self.lacks(last) == 0 {
            return Ok(cursor);
        }
        // The packet begins an even number of bytes later: the least for which it is not too short.
        // Without branches, because the verifier would follow each of them.
        let mut too_few = 0;
        for step in [128, 64, 32, 16, 8, 4, 2] {
            too_few += self.lacks(last.wrapping_sub(too_few + step)) * step;
        }
        // The verifier of Linux 5.10 does not see this bound, and the compiler must not see it.
        let before = (black_box(too_few) & 0xfe) + 2;
        // Not later, and not one byte earlier either, which no known link layer has.
        if self.lacks(last.wrapping_sub(before)) != 0
            || self.lacks(last.wrapping_sub(before - 1)) == 0
        {
            return Err(Truncated);
        }
        cursor.skip(before)?;
        Ok(cursor)
    }

    /// 1 if the packet has no two bytes at `offset` in the first buffer, else 0. 0 also if `offset` is
    /// negative.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a buffer is shorter than 4 GiB, and the kernel refuses an offset above 65535"
    )]
    fn lacks(&self, offset: usize) -> usize {
        const SIGN: u32 = u64::BITS - 1;
        let mut bytes = 0_u16;
        // SAFETY: the context is the one that the kernel passed to the program, and the kernel writes
        // two bytes.
        let result = unsafe {
            bpf_skb_load_bytes_relative(
                self.as_ptr(),
                offset as u32,
                (&raw mut bytes).cast(),
                2,
                bpf_hdr_start_off::BPF_HDR_START_NET,
            )
        };
        ((result as u64 & !(offset as u64)) >> SIGN) as usize
    }

    /// The EtherType of the packet, without VLAN tags.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field holds a 16-bit value in network byte order"
    )]
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be(self.0.skb.protocol() as u16)
    }
}

/// The readable bytes from address `start` to address `end`, which the kernel provided.
#[inline(always)]
fn readable(start: usize, end: usize) -> Cursor {
    // SAFETY: the kernel provides the bounds of the packet's first buffer, which is not modified
    // while the program runs. Drivers place frames at even addresses. At an odd address, the
    // alignment of the headers has no effect but two-byte loads; a kernel for a processor without
    // efficient unaligned access rejects the program.
    unsafe { Cursor::new(start, end) }
}

impl<const BUFFERS: bool> Frame for Xdp<BUFFERS> {
    #[inline(always)]
    fn cursor(&self) -> Cursor {
        let context = self.0.ctx;
        // SAFETY: the context is the one that the kernel passed to the program.
        let (start, end) = unsafe {
            let (start, end) = (&raw const (*context).data, &raw const (*context).data_end);
            (start.read_volatile(), end.read_volatile())
        };
        readable(start as usize, end as usize)
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is a u32 in struct xdp_md"
    )]
    fn ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a frame is at most a few pages long"
    )]
    fn further(&self) -> usize {
        if !BUFFERS {
            return 0;
        }
        // SAFETY: the context is the one that the kernel passed to the program.
        let len = unsafe { bpf_xdp_get_buff_len(self.0.ctx) };
        (len as usize).saturating_sub(self.0.data_end() - self.0.data())
    }
}

impl Frame for Skb {
    #[inline(always)]
    fn cursor(&self) -> Cursor {
        let context = self.0.skb.skb;
        // SAFETY: as above.
        let (start, end) = unsafe {
            let (start, end) = (&raw const (*context).data, &raw const (*context).data_end);
            (start.read_volatile(), end.read_volatile())
        };
        readable(start as usize, end as usize)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the context is the one that the kernel passed to the program.
        unsafe { (*self.0.skb.skb).ifindex }
    }

    #[inline(always)]
    fn further(&self) -> usize {
        (self.0.len() as usize).saturating_sub(self.0.data_end() - self.0.data())
    }
}

impl<const BUFFERS: bool> EbpfContext for Xdp<BUFFERS> {
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl EbpfContext for Skb {
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}
