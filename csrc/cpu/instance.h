// What the sources that are compiled once for each instruction set have in common: names made of WAVENET_ISA and
// WAVENET_REAL, which the build defines (isas.cmake).
#pragma once

#define WAVENET_JOIN_(a, b, c, d) a##b##c##d
#define WAVENET_JOIN(a, b, c, d) WAVENET_JOIN_(a, b, c, d)
#define WAVENET_IS_float 0
#define WAVENET_IS_double 1
#define WAVENET_DOUBLE WAVENET_JOIN(WAVENET_, IS, _, WAVENET_REAL)

#ifndef WAVENET_FORWARD_ONLY  // leaves out what only training and tensors in any order need
#define WAVENET_FORWARD_ONLY 0
#endif

#if WAVENET_FORWARD_ONLY  // what happens once, when a model is made, may be slow and is to be small
#define WAVENET_ONCE __attribute__((cold))
#else
#define WAVENET_ONCE inline
#endif

#if defined(__clang__)
#define WAVENET_UNROLL _Pragma("unroll")
#define WAVENET_APART __attribute__((noinline))
#else
#define WAVENET_UNROLL _Pragma("GCC unroll 32")
#define WAVENET_APART __attribute__((noinline, noclone))
#endif
