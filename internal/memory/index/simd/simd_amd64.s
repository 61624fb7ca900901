//go:build !purego

#include "textflag.h"

// PRODUCT sets X0 to the product of the numbers at SI and the query at R8. There
// are R9 chunks; the last sixteen numbers end at DX(SI*1), and of the query they
// meet what no chunk has.
#define PRODUCT(next) \
	VPXOR        Y0, Y0, Y0    \
	MOVQ         SI, R10       \
	MOVQ         R8, R11       \
	MOVQ         R9, R12       \
next:                          \
	VPMOVSXBW    (R10), Y1     \
	VPMADDWD     (R11), Y1, Y1 \
	VPADDD       Y1, Y0, Y0    \
	ADDQ         $16, R10      \
	ADDQ         $32, R11      \
	DECQ         R12           \
	JNZ          next          \
	VPMOVSXBW    -16(SI)(DX*1), Y1 \
	VPMADDWD     (R11), Y1, Y1 \
	VPADDD       Y1, Y0, Y0    \
	VEXTRACTI128 $1, Y0, X1    \
	VPADDD       X1, X0, X0    \
	VPSHUFD      $0x4e, X0, X1 \
	VPADDD       X1, X0, X0    \
	VPSHUFD      $0xb1, X0, X1 \
	VPADDD       X1, X0, X0

// func products(out *int32, rows *byte, n, dims int, query *int16)
TEXT ·products(SB), NOSPLIT, $0-40
	MOVQ out+0(FP), DI
	MOVQ rows+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ dims+24(FP), DX
	MOVQ query+32(FP), R8
	MOVQ DX, R9
	SHRQ $4, R9

row:
	PRODUCT(chunk)
	VMOVD X0, (DI)
	ADDQ  $4, DI
	ADDQ  DX, SI
	DECQ  CX
	JNZ   row
	VZEROUPPER
	RET

// ahead is how many rows before it is read a row is fetched.
#define ahead 8

// func productsAt(out *int32, rows *byte, places *int32, n, dims int, query *int16)
TEXT ·productsAt(SB), NOSPLIT, $0-48
	MOVQ out+0(FP), DI
	MOVQ rows+8(FP), BX
	MOVQ places+16(FP), AX
	MOVQ n+24(FP), CX
	MOVQ dims+32(FP), DX
	MOVQ query+40(FP), R8
	MOVQ DX, R9
	SHRQ $4, R9

row:
	CMPQ       CX, $ahead
	JLE        read
	MOVLQSX    (4*ahead)(AX), SI
	IMULQ      DX, SI
	ADDQ       BX, SI
	PREFETCHT0 (SI)
	PREFETCHT0 64(SI)

read:
	MOVLQSX (AX), SI
	IMULQ   DX, SI
	ADDQ    BX, SI
	PRODUCT(chunk)
	VMOVD   X0, (DI)
	ADDQ    $4, DI
	ADDQ    $4, AX
	DECQ    CX
	JNZ     row
	VZEROUPPER
	RET

// How many bits the sixteen values of a nibble have, and two and four times that.
DATA ones<>+0(SB)/8, $0x0302020102010100
DATA ones<>+8(SB)/8, $0x0403030203020201
DATA ones<>+16(SB)/8, $0x0302020102010100
DATA ones<>+24(SB)/8, $0x0403030203020201
GLOBL ones<>(SB), RODATA|NOPTR, $32

DATA twos<>+0(SB)/8, $0x0604040204020200
DATA twos<>+8(SB)/8, $0x0806060406040402
DATA twos<>+16(SB)/8, $0x0604040204020200
DATA twos<>+24(SB)/8, $0x0806060406040402
GLOBL twos<>(SB), RODATA|NOPTR, $32

DATA fours<>+0(SB)/8, $0x0c08080408040400
DATA fours<>+8(SB)/8, $0x100c0c080c080804
DATA fours<>+16(SB)/8, $0x0c08080408040400
DATA fours<>+24(SB)/8, $0x100c0c080c080804
GLOBL fours<>(SB), RODATA|NOPTR, $32

DATA nibble<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+16(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+24(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL nibble<>(SB), RODATA|NOPTR, $32

// PLANE adds to Y2, byte by byte, the values of table for the two nibbles of what
// agrees in Y1 and counts in the plane.
#define PLANE(plane, table) \
	VPAND   plane(R11), Y1, Y3 \
	VPSRLW  $4, Y3, Y4         \
	VPAND   Y15, Y3, Y3        \
	VPAND   Y15, Y4, Y4        \
	VPSHUFB Y3, table, Y3      \
	VPSHUFB Y4, table, Y4      \
	VPADDB  Y3, Y2, Y2         \
	VPADDB  Y4, Y2, Y2

// func agreements(out *int32, sketches *byte, pairs, chunks int, query *sketchChunk)
TEXT ·agreements(SB), NOSPLIT, $0-40
	MOVQ    out+0(FP), DI
	MOVQ    sketches+8(FP), SI
	MOVQ    pairs+16(FP), CX
	MOVQ    chunks+24(FP), DX
	MOVQ    query+32(FP), R8
	MOVQ    DX, R9
	SHLQ    $4, R9
	VMOVDQU ones<>(SB), Y12
	VMOVDQU twos<>(SB), Y13
	VMOVDQU fours<>(SB), Y14
	VMOVDQU nibble<>(SB), Y15
	VPXOR   Y11, Y11, Y11

pair:
	VPXOR Y0, Y0, Y0
	MOVQ  R8, R11
	MOVQ  DX, R12

chunk:
	// The processor's own reading ahead is too short for work as quick as this.
	PREFETCHT0  2048(SI)
	VMOVDQU     (SI), X1
	VINSERTI128 $1, (SI)(R9*1), Y1, Y1
	VPXOR       (R11), Y1, Y1
	VPXOR       Y2, Y2, Y2
	PLANE(32, Y12)
	PLANE(64, Y13)
	PLANE(96, Y14)
	VPSADBW     Y11, Y2, Y2
	VPADDQ      Y2, Y0, Y0
	ADDQ        $16, SI
	ADDQ        $128, R11
	DECQ        R12
	JNZ         chunk

	ADDQ         R9, SI
	VPSRLDQ      $8, Y0, Y1
	VPADDQ       Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPUNPCKLDQ   X1, X0, X0
	VMOVQ        X0, (DI)
	ADDQ         $8, DI
	DECQ         CX
	JNZ          pair
	VZEROUPPER
	RET
