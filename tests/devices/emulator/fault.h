/* SPDX-License-Identifier: MIT
 * What may be wrong with the emulated card, to see that the checks find it. */
#ifndef TESTS_DEVICES_EMULATOR_FAULT_H
#define TESTS_DEVICES_EMULATOR_FAULT_H

typedef enum emulator_fault {
    FAULT_NONE,
    FAULT_PRODUCT, /* two registers of lane 5 are exchanged in products */
    FAULT_COPY,    /* copies arrive one wait later than they should */
    FAULT_BARRIER  /* a block's barriers hold nobody back */
} emulator_fault;

#ifdef __cplusplus
extern "C"
#else
extern
#endif
    emulator_fault emulated_fault;

#endif
