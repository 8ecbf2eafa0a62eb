// libknock: knocks on servers that run knockd. Link with -lknock.
//
// A program fills in a `struct knock_request` and calls `knock_send`, or makes a knock with `knock_ports`
// or `knock_datagram` and sends it itself. All functions can be called by several threads at the same
// time. None of them keeps a pointer or changes the process: no signal handler, no global state that a
// program could see.
//
// This file is generated: change knock-user/library/src.


#ifndef KNOCK_H
#define KNOCK_H

#include <stddef.h>
#include <stdint.h>

// Done.
#define KNOCK_OK 0

// The request is wrong. The message names the member.
#define KNOCK_INVALID 1

// The server has no address that can be used, or its name was not resolved in time.
#define KNOCK_NO_ADDRESS 2

// The system could not send the knock.
#define KNOCK_NOT_SENT 3

// There is no time or no random number for a knock, or the lease is too long for SYNs.
#define KNOCK_NOT_MADE 4

// An error in this library.
#define KNOCK_BUG 5

// A knock as 16 TCP SYNs.
#define KNOCK_SYN 0

// A knock as one UDP datagram.
#define KNOCK_UDP 1

// A datagram and then SYNs. Each is a request of its own.
#define KNOCK_BOTH 2

// The number of ports of a SYN knock.
#define KNOCK_PORTS 16

// The length of a datagram knock, in bytes.
#define KNOCK_DATAGRAM_LEN 144

// The length of the random numbers for a datagram knock, in bytes.
#define KNOCK_RANDOM_LEN 32

// Who knocks on which door of which server. Set all to zero first: then only `door` and either
// `invitation` or `key`, `server` and `server_key` have to be set.
//
// The strings are UTF-8, end with a NUL, and have at most 2048 bytes. A member other than `door` that is
// NULL or 0 is not set. One that is set takes precedence over the same part of the invitation.
struct knock_request {
  // The line that `knockd client add` prints: knock://CLIENT@HOST:BASE?server=PUBLIC… It is a secret
  // if it contains `key=`.
  const char *invitation;
  // The client's private key, as in a key file: knock2: and 43 characters. It is a secret.
  const char *key;
  // The server's name or address.
  const char *server;
  // The server's public key: 43 characters.
  const char *server_key;
  // The name of the door.
  const char *door;
  // The source address that the knock is bound to: an address, `none`, or `auto` as without it.
  const char *source_ip;
  // KNOCK_SYN, KNOCK_UDP or KNOCK_BOTH, for `knock_send`.
  uint32_t transport;
  // How long the door is to stay open, in seconds. 0 leaves it to the door, UINT32_MAX closes it.
  uint32_t lease;
  // For how long the server's name may be looked up, in milliseconds; 0 stands for 10000.
  uint32_t timeout_ms;
  // The first port of SYN knocks; if it is in neither, 61000.
  uint16_t base;
  // The port of datagram knocks; if it is in neither, 62201.
  uint16_t udp_port;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of this interface. It changes when a program would have to be compiled again, and so does
// the name of the shared library: libknock.so.1.
uint32_t knock_abi_version(void);

// Knocks once on each address of the server, at most one of each family.
//
// KNOCK_OK means that the knock was sent. It is never answered: try the door then. Returns after a tenth
// of a second for each address, or else after at most `timeout_ms` and that.
//
// `message` gets a text of up to `message_size` bytes, which ends with a NUL: what is wrong, or with
// KNOCK_OK what was not sent in full, or nothing. It contains no secret. It may be NULL.
int32_t knock_send(const struct knock_request *request,
                   char *message,
                   size_t message_size);

// Makes a fresh SYN knock: the 16 ports of the server to which a SYN has to be sent, in this order.
//
// The knock is bound to `source_ip` of the request if that is an address; with `auto` it is unbound.
// `ports` has room for KNOCK_PORTS numbers, and stays as it is after an error. `message` is as for
// `knock_send`.
int32_t knock_ports(const struct knock_request *request,
                    uint16_t *ports,
                    char *message,
                    size_t message_size);

// The same as `knock_ports`, for a host with a clock of its own. `unix_ms` is the time in milliseconds
// since 1970, and `random` a random number. The same two make the same knock, which the server accepts
// once.
int32_t knock_ports_at(const struct knock_request *request,
                       uint64_t unix_ms,
                       uint8_t random,
                       uint16_t *ports,
                       char *message,
                       size_t message_size);

// Makes a fresh datagram knock: the payload for the UDP port `udp_port` of the server. Send it some
// times over, because a packet can be lost.
//
// `datagram` has room for KNOCK_DATAGRAM_LEN bytes, and stays as it is after an error. The knock is
// bound as by `knock_ports`, and `message` is as for `knock_send`.
int32_t knock_datagram(const struct knock_request *request,
                       uint8_t *datagram,
                       char *message,
                       size_t message_size);

// The same as `knock_datagram`, for a host with a clock or random numbers of its own. `unix_ms` is the
// time in milliseconds since 1970. `random` points to KNOCK_RANDOM_LEN random bytes, which are used once:
// two datagrams with the same ones reveal what they contain.
int32_t knock_datagram_at(const struct knock_request *request,
                          uint64_t unix_ms,
                          const uint8_t *random,
                          uint8_t *datagram,
                          char *message,
                          size_t message_size);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KNOCK_H */
