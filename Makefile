# make demo    first results on the embedded model, in minutes on a laptop
# make test    the fast tests
# make help    the rest

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Overrides for the table targets, e.g. make table2 ARGS="model=sd15 data=places"
ARGS ?= dtype=bfloat16
# Worker processes of the tests; WORKERS= runs them in one process
WORKERS ?= -n 2 --dist loadgroup
GALLERY := build/gallery
DEMO := task=inpaint steps=25 data.limit=32 dtype=float32

SENSITIVITY := figure8 figure9 figure10 figure11 figure12
BEYOND := schedules-inpaint schedules-roundtrip ood-inpaint ood-reconstruct ood-drag \
          candidates-inpaint candidates-diffedit candidates-drag
GUIDANCE := $(addprefix guidance-,inpaint reconstruct diffedit p2p roundtrip sdedit ddib drag sample)
# Tables share runs. One that a table has extended to more images would no longer do for a table of
# fewer, so these come first.
TABLES := table7 exactness pie-bench $(SENSITIVITY) drag-r drag-pairs $(BEYOND) inpaint-few-steps $(GUIDANCE) \
          bdia-table1 bdia-table2 bdia-figure3 bdia-figure5 figure3 figure4 figure7 i2i table3 table6 \
          table8 table2 table5 inpaint-order-ode inpaint-order-sde

# Tables of "The Blessing of Randomness" with its own models and data
PAPER := table2 table3 table5 table6 table8 figure3 figure4 figure7 $(SENSITIVITY)

.PHONY: help demo test test-slow docs check format gallery shapes-card $(TABLES) table4 figure2 figure5 sensitivity guidance beyond theory claims paper results clean

help:
	@echo "demo         both samplers on the embedded model: scores, their difference, a contact sheet"
	@echo "test         the fast tests        test-slow    the slow ones"
	@echo "docs         this documentation as a site: docs/_build/html/index.html"
	@echo "check        ruff, mypy, import-linter     format    let ruff format"
	@echo "table2       Table 2: runs what is missing, then writes results/tables/table2.*; likewise"
	@echo "             $(filter-out table2,$(TABLES))"
	@echo "table4       Table 4: what a data set of drags is made of; needs no runs"
	@echo "figure2      Table 8 as trade-offs, drawn with it"
	@echo "sensitivity  dragging over its settings: $(SENSITIVITY)"
	@echo "guidance     every task over guidance, on validation scenes, and the default that follows"
	@echo "beyond       questions that the paper leaves open, the tables of docs/beyond-the-paper.md"
	@echo "figure5      Fig. 5, the 1-D toy: results/figures/figure5.*, in a minute"
	@echo "theory       theory_kl.* and theory_schedules.*, the numbers of docs/theory.md, in minutes"
	@echo "claims       what the papers claim, decided by results/tables: results/claims.*, README, docs/claims.md"
	@echo "results      everything in results/tables and results/figures that needs no people, on the embedded model"
	@echo "paper        the paper's tables on its own models and data: $(PAPER)"
	@echo "             ARGS='--dry-run --tflops 495' shows what that costs at 495 TFLOP/s"
	@echo "gallery      a report of Table 2 on eight scenes: $(GALLERY)/report/index.html"
	@echo "shapes-card  measures the embedded model and writes docs/shapes-model-card.md"
	@echo "ARGS='...'   overrides for the table targets; now: $(ARGS)"

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(VENV)/installed
	$(BIN)/sde-edit run sampler=ode,sde $(DEMO)
	@echo
	@echo "The picture to look at is the last path above. Next, for example:"
	@echo "  $(BIN)/sde-edit run sampler=ode,sde $(DEMO) seed=1"
	@echo "  $(BIN)/sde-edit run task=diffedit data=shapes-edits sampler=ode,sde steps=25 data.limit=16"
	@echo "  $(BIN)/sde-edit runs"

test: $(VENV)/installed
	$(BIN)/python -m pytest $(WORKERS)

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest $(WORKERS) -m "slow and not gpu"

docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -c docs -W --keep-going -q . docs/_build/html
	@echo "open docs/_build/html/index.html"

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

table3 figure4 exactness: ARGS = # they say themselves which dtype each arm has
# scenes of a cell, where the data set's own 256 decide too little
table2 table5 inpaint-order-ode inpaint-order-sde: ARGS += data.n=1024
table8: ARGS += data.n=512 data.limit=512
$(TABLES): $(VENV)/installed
	$(BIN)/sde-edit sweep table=$@ $(ARGS)

empty :=
comma := ,
paper: ARGS = # the dtype is the models': float16 on a GPU
paper: $(VENV)/installed # in a folder of its own: results/tables has the embedded model's
	$(BIN)/sde-edit sweep table=$(subst $(empty) $(empty),$(comma),$(PAPER)) setting=paper \
		paths.results=results/paper $(ARGS)

results: $(TABLES) table4 figure5 theory claims

table4: ARGS = # counted, not run; ARGS="data=dragbench" counts the real one
table4: $(VENV)/installed
	$(BIN)/sde-edit table $@ $(ARGS)

figure2: table8 # drawn with it

sensitivity: $(SENSITIVITY)

guidance: $(GUIDANCE) # then writes the embedded model's default of each task
	$(BIN)/python scripts/default_guidance.py

beyond: $(BEYOND)

figure5: $(VENV)/installed
	$(BIN)/sde-edit figure $@

theory: $(VENV)/installed
	$(BIN)/sde-edit figure theory_kl
	$(BIN)/sde-edit figure theory_schedules
	$(BIN)/python scripts/theory_numbers.py

claims: $(VENV)/installed
	$(BIN)/sde-edit claims
	$(BIN)/python scripts/claims_table.py README.md docs/claims.md

gallery: $(VENV)/installed
	$(BIN)/sde-edit sweep table=table2 data.limit=8 paths.results=$(GALLERY)
	$(BIN)/sde-edit report paths.results=$(GALLERY)

shapes-card: $(VENV)/installed
	$(BIN)/python scripts/shapes_card.py

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
