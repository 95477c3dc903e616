/* SPDX-License-Identifier: MIT
 * The tensors of a model file. */
#ifndef LM_WEIGHTS_H
#define LM_WEIGHTS_H

#include "fields.h"
#include "model.h"

/* Checks every tensor against the shapes of the model and copies it to model->weights, matrices in the
 * type they have, vectors as float32. TQ_E_FILE_FIELD, TQ_E_FILE_TYPE, TQ_E_FILE_SHAPE, TQ_E_NO_MEMORY.
 */
tq_status lm_weights_read(const lm_file *f, lm_model *model);

#endif
