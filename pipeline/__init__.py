"""FunctionGemma Studio's pipeline: from the tools of an app to a file that calls them on a phone. The map, one line a module.

Told to the user           errors; config (every option: flag, widget, check); durations
On disk, in processes      files (whole or absent), journal (lines), jsontext (JSON that keeps its types), child (work in another process)
Tools and rows             schema, tools, declarations (what is lost) -> examples, dataset -> importers (formats, rowfiles), sources
The wire format            functiongemma (prompts), functiongemma_parser and _values (replies) -> packing (integers that share a prefix)
Runs                       runs (the layout on disk), slots (a training in ZeroGPU slots, planned), simulated (what a function might return)
Asking the Hub             hub/ (one client, every refusal a sentence), hub/access (who may use which base), hub/room (which go, on a Space)
Models                     model (find, load, generate), engine (a .litertlm kept open), prefix_generate, prefix_attention, ranks (one of
                           several processes), trainer, callbacks -> train -> evaluate, scores
Files for phones           export/, runtimes (run one for real), litert_interpreter, llamacpp, serving (a model kept open, apart)
To the Hub and back        hub/: push, checkpoints (what is not over), demo (a Space of one's own), public (anybody's model), remote (Jobs)
Entrances                  cli/ (python -m pipeline), ui/ (the only place that imports gradio)
Material                   base/ (the embedded model and how it was made), samples/ (the sample project)

Each line uses the lines above it; tests/test_layers.py holds them to it. Nothing is re-exported: import from the module that has it.
"""
